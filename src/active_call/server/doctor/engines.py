"""Whether the engines of a playbook are available, support its language, and match. The choice enters; findings leave. Starts no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError
from active_call.call.opening.options import SpeechChoice
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import Services
from active_call.providers.guarding.fallbacks import asr_chain, llm_chain, tts_chain
from active_call.providers.registry import create_recogniser, create_responder, create_synthesiser
from active_call.providers.selection import resolved
from active_call.providers.tts.espeak_voices import lacks_voice
from active_call.providers.tts.piper_voices import has_voice
from active_call.server.doctor.findings import Finding
from active_call.server.setup.engine_lines import told


def engine_findings(name: str, choice: SpeechChoice, language: str, services: Services) -> Iterator[Finding]:
    """Findings about the engines of the playbook `name`, in `language` if the playbook sets it (`llm.language`)."""
    spoken = choice.asr.language or choice.tts.language or language
    asr = choice.asr if choice.asr.language or not spoken else msgspec.structs.replace(choice.asr, language=spoken)
    makers: list[tuple[str, Callable[[], object]]] = [
        ("speech recognition", lambda: create_recogniser(asr, services)),
        ("speech synthesis", lambda: create_synthesiser(choice.tts, services)),
        ("language model", lambda: create_responder(choice.llm, services) if choice.llm is not None else None),
    ]
    made: dict[str, object] = {}
    for what, make in makers:
        try:
            made[what] = make()
        except ActiveCallError as error:
            yield Finding("engines", "fail", f"{name}: {what}: {error}")
    others = list(_fallbacks(name, asr, choice, services))
    yield from (finding for finding in others if finding.level != "ok")
    doubts = [*_open_speech(name, made), *_voice(name, choice.tts, spoken, made, services.environment)]
    yield from doubts
    if len(made) == len(makers) and not any(finding.level == "fail" for finding in (*others, *doubts)):
        yield Finding("engines", "ok", f"{name}: {told(replace(choice, asr=asr), services.environment)}")
        yield from (finding for finding in others if finding.level == "ok")


def _fallbacks(name: str, asr: AsrOption, choice: SpeechChoice, services: Services) -> Iterator[Finding]:
    """Whether each fallback is available; a model needs recognisers for free speech."""
    environment = services.environment
    llms = llm_chain(resolved(choice.llm, environment))[1:] if choice.llm is not None else []
    makers: list[tuple[str, Callable[[], Any]]] = [
        *(("speech recognition", partial(create_recogniser, each, services)) for each in asr_chain(resolved(asr, environment))[1:]),
        *(("speech synthesis", partial(create_synthesiser, each, services)) for each in tts_chain(resolved(choice.tts, environment))[1:]),
        *(("language model", partial(create_responder, each, services)) for each in llms),
    ]
    for what, make in makers:
        try:
            engine = make()
        except ActiveCallError as error:
            yield Finding("engines", "fail", f"{name}: {what} (fallback): {error}")
            continue
        if what == "speech recognition" and choice.llm is not None and not engine.capabilities.free_speech:
            reason = f"{engine.name} recognises only listed phrases, and a language model needs free speech"
            yield Finding("engines", "warn", f"{name}: {what} (fallback): {reason}")
        else:
            yield Finding("engines", "ok", f"{name}: {what} (fallback): {engine.name}")


def _open_speech(name: str, made: dict[str, object]) -> Iterator[Finding]:
    """A model talks about any subject, so the recogniser must understand free speech."""
    recogniser: Any = made.get("speech recognition")
    if made.get("language model") is not None and recogniser is not None and not recogniser.capabilities.free_speech:
        known = recogniser.name
        reason = f"{known} recognises only listed phrases, and a language model needs free speech: choose another asr.provider"
        yield Finding("engines", "fail", f"{name}: speech recognition: {reason}")


def _lacks(engine: str, tts: TtsOption, environment: Mapping[str, str]) -> bool:
    """Whether the requested voice does not exist."""
    voice = tts.speaker or tts.model
    if engine == "espeak":
        return lacks_voice(voice or tts.language or "")
    return voice is not None and not has_voice(environment, voice)


def _voice(name: str, tts: TtsOption, spoken: str, made: dict[str, object], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the synthesiser has a voice of the playbook's language."""
    engine = getattr(made.get("speech synthesis"), "name", "")
    if engine not in ("espeak", "piper"):
        return
    wished = tts.speaker or tts.model or tts.language
    if wished and _lacks(engine, tts, environment):
        yield Finding("engines", "fail", f"{name}: speech synthesis: there is no voice {wished!r}; another voice would be used")
    elif not wished and spoken and spoken.lower() != "auto" and not spoken.lower().startswith("en"):
        reason = f"the playbook's language is {spoken!r}, but no voice is chosen, so the agent would speak English; set tts.language"
        yield Finding("engines", "fail", f"{name}: speech synthesis: {reason}")
