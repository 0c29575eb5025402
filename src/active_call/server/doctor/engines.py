"""Whether the engines of a playbook can be had, speak its language, and go together, fallbacks included.

The choice enters, findings leave. Starts no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from active_call.base.errors import ActiveCallError
from active_call.call.opening.options import SpeechChoice
from active_call.contract.options import TtsOption
from active_call.providers.base import Services
from active_call.providers.guarding.fallbacks import asr_chain, llm_chain, tts_chain
from active_call.providers.registry import create_recogniser, create_responder, create_synthesiser
from active_call.providers.tts.espeak_voices import lacks_voice
from active_call.server.doctor.findings import Finding


def engine_findings(name: str, choice: SpeechChoice, language: str, services: Services) -> Iterator[Finding]:
    """About the engines of the playbook `name`, which is in `language` where it says so (`llm.language`)."""
    spoken = choice.asr.language or choice.tts.language or language
    asr = choice.asr if choice.asr.language or not spoken else msgspec.structs.replace(choice.asr, language=spoken)
    makers: list[tuple[str, list[Callable[[], Any]]]] = [
        ("speech recognition", [partial(create_recogniser, each, services) for each in asr_chain(asr)]),
        ("speech synthesis", [partial(create_synthesiser, each, services) for each in tts_chain(choice.tts)]),
        ("language model", [partial(create_responder, each, services) for each in llm_chain(choice.llm)] if choice.llm is not None else []),
    ]
    made: dict[str, list[Any]] = {}
    failed: list[Finding] = []
    for what, makes in makers:
        made[what] = []
        for number, make in enumerate(makes):
            try:
                made[what].append(make())
            except ActiveCallError as error:
                failed.append(Finding("engines", "fail", f"{name}: {what}{' (fallback)' if number else ''}: {error}"))
    yield from failed
    doubts = [*_open_speech(name, made), *_voice(name, choice.tts, spoken, made["speech synthesis"])]
    yield from doubts
    if not failed and not any(finding.level == "fail" for finding in doubts):
        told = [
            f"{what} {', then '.join(engine.name for engine in engines)}" if engines else f"no {what}" for what, engines in made.items()
        ]
        yield Finding("engines", "ok", f"{name}: {', '.join(told)}")


def _open_speech(name: str, made: dict[str, list[Any]]) -> Iterator[Finding]:
    """A model talks about anything; its caller must be understood whatever is said, also by a fallback."""
    if not made["language model"]:
        return
    for recogniser in made["speech recognition"]:
        if not recogniser.capabilities.free_speech:
            known = recogniser.name
            reason = f"{known} understands listed phrases only, and a language model needs open speech: choose another asr.provider"
            yield Finding("engines", "fail", f"{name}: speech recognition: {reason}")


def _voice(name: str, tts: TtsOption, spoken: str, synthesisers: list[Any]) -> Iterator[Finding]:
    """Whether each synthesiser has a voice of the playbook's language."""
    options = tts_chain(tts)
    if len(options) != len(synthesisers):
        return
    for option, synthesiser in zip(options, synthesisers, strict=True):
        if synthesiser.name == "espeak":
            yield from _voice_of_espeak(name, option, spoken)


def _voice_of_espeak(name: str, tts: TtsOption, spoken: str) -> Iterator[Finding]:
    wished = tts.speaker or tts.model or tts.language
    if wished and lacks_voice(wished):
        yield Finding("engines", "fail", f"{name}: speech synthesis: there is no voice {wished!r}; another one would speak")
    elif not wished and spoken and spoken.lower() != "auto" and not spoken.lower().startswith("en"):
        reason = f"the playbook's language is {spoken!r}, and no voice is chosen: English is spoken; set tts.language"
        yield Finding("engines", "fail", f"{name}: speech synthesis: {reason}")
