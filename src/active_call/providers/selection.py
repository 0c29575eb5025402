"""Which engine a call uses if its options name none, and why.

An option and the environment enter; a `Selection` leaves. Imports no adapter.

| the option … | the engine |
|---|---|
| names a provider | that one |
| says `provider: local` | the first local engine that speaks the language |
| has an `endpoint`, a `baseUrl` or a key | `openai`: any server that speaks its protocol |
| names a speaker that a local voice has | that engine |
| says nothing, and a vendor is configured (`NAME_API_KEY`) | the vendor; local engines take over when it fails |
| says nothing else | the first local engine that speaks the language |

`OPENAI_BASE_URL` configures a language model only, since a private server rarely offers speech. There is no local language model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.entry_points import ASR, LLM, LOCAL_EXTRA, TTS, Kind, known_providers
from active_call.providers.local.on_this_machine import LOCAL_ENGINES, LocalEngine
from active_call.providers.openai_settings import KEY_VARIABLE, OPENAI_URL, URL_VARIABLE
from active_call.providers.settings import LlmSettings
from active_call.providers.tts.espeak_voices import lacks_voice
from active_call.providers.tts.piper_voices import find_voice, has_voice
from active_call.providers.vendor_keys import rank_of, variables_of

LOCAL = "local"
"""`provider: local`: any engine of this machine."""
OPENAI, PIPER = "openai", "piper"

_Option = TypeVar("_Option", AsrOption, TtsOption, LlmSettings)
Environment = Mapping[str, str]


class Selection(Struct, frozen=True):
    """The selected engine, its voice or model if known (`detail`), and the reason in words.

    `fallback`: the engines that follow it by default.
    """

    section: str
    provider: str
    reason: str
    fallback: tuple[str, ...] = ()
    detail: str = ""

    def as_facts(self) -> dict[str, str]:
        """The fields for the record of the call."""
        facts = {"provider": self.provider, "name": self.detail, "reason": self.reason, "fallback": ", ".join(self.fallback)}
        return {key: value for key, value in facts.items() if value}

    def __str__(self) -> str:
        name = f"{self.provider} {self.detail}".strip()
        then = f"; then {', '.join(self.fallback)}" if self.fallback else ""
        return f"{self.section}: {name} ({self.reason}{then})"


def select_asr(option: AsrOption, environment: Environment) -> Selection:
    """The recognition engine. Raises ConfigError if there is none."""
    chosen = _chosen(ASR, option.provider, _server_key("asr", option.endpoint, option.secret_key))
    return chosen or _default(ASR, option.language, option.provider == LOCAL, environment)


def select_tts(option: TtsOption, environment: Environment) -> Selection:
    """The synthesis engine. Raises ConfigError if there is none."""
    voice = option.speaker or option.model
    chosen = _chosen(TTS, option.provider, _server_key("tts", option.endpoint, option.secret_key))
    if chosen is None and voice and (engine := _engine_of_voice(voice, option.language, environment)):
        chosen = Selection("tts", engine, f"it has the voice {voice!r}", _stand_ins(TTS, option.language, environment, after=engine))
    if chosen is not None and chosen.provider == PIPER:
        chosen = _with_language(chosen, option, environment)
    selection = chosen or _default(TTS, option.language, option.provider == LOCAL, environment)
    return replace(selection, detail=_voice_name(selection.provider, option, environment))


def _with_language(chosen: Selection, option: TtsOption, environment: Environment) -> Selection:
    """Piper with espeak as fallback; espeak alone for a language that no installed Piper voice speaks (also in mid-call)."""
    usable = [engine.name for engine in _usable(TTS, option.language, environment)]
    if PIPER in usable or "espeak" not in usable or (option.speaker and has_voice(environment, option.speaker)):
        return replace(chosen, fallback=_stand_ins(TTS, option.language, environment, after=PIPER))
    return Selection("tts", "espeak", f"{chosen.reason}: piper, which has no voice of {option.language!r}")


def select_llm(settings: LlmSettings, environment: Environment) -> Selection:
    """The language model. Raises ConfigError if there is none."""
    chosen = _chosen(LLM, settings.provider, _server_key("llm", settings.base_url, settings.api_key))
    return replace(chosen or _default(LLM, None, settings.provider == LOCAL, environment), detail=settings.model or "")


def selections(asr: AsrOption, tts: TtsOption, llm: LlmSettings | None, environment: Environment) -> tuple[Selection, ...]:
    """What a call's options select: recognition, synthesis, and a model if it has one. Raises ConfigError."""
    speech = (select_asr(asr, environment), select_tts(tts, environment))
    return speech if llm is None else (*speech, select_llm(llm, environment))


def resolved(option: _Option, environment: Environment) -> _Option:
    """`option` with the selected provider, and with the default fallbacks if it names none. Raises ConfigError."""
    match option:
        case AsrOption():
            selection = select_asr(option, environment)
            return msgspec.structs.replace(option, provider=selection.provider, fallback=_fallback(option.fallback, selection))
        case TtsOption():
            selection = select_tts(option, environment)
            return msgspec.structs.replace(option, provider=selection.provider, fallback=_fallback(option.fallback, selection))
        case LlmSettings():
            return replace(option, provider=select_llm(option, environment).provider)


def _fallback(named: list[str] | None, selection: Selection) -> list[str] | None:
    if named is not None:
        return named
    return list(selection.fallback) or None


def _chosen(kind: Kind, provider: str | None, server_key: str | None) -> Selection | None:
    if provider and provider.lower() != LOCAL:
        return Selection(kind.section, provider.lower(), f"chosen by {kind.key}")
    if not provider and server_key:
        return Selection(kind.section, OPENAI, f"{server_key} is set")
    return None


def _server_key(section: str, url: str | None, key: str | None) -> str | None:
    """The name of the setting that points to a server with OpenAI's protocol."""
    url_name, key_name = ("baseUrl", "apiKey") if section == "llm" else ("endpoint", "secretKey")
    return f"{section}.{url_name}" if url else f"{section}.{key_name}" if key else None


def _default(kind: Kind, language: str | None, wants_local: bool, environment: Environment) -> Selection:
    """The engine used if the option names none, or names `local`."""
    engines = _usable(kind, language, environment)
    spoken = language_name(language)
    if not wants_local and (vendor := configured_vendor(kind, environment)):
        provider, variable = vendor
        stand_ins = tuple(engine.name for engine in engines if engine.stands_in)
        return Selection(kind.section, provider, f"{variable} is set", stand_ins)
    if engines:
        why = f"{kind.key}: local; installed, {spoken}" if wants_local else f"installed, {spoken}; {_why_no_vendor(environment)}"
        return Selection(kind.section, engines[0].name, why, _stand_ins(kind, language, environment, after=engines[0].name))
    raise ConfigError(kind.key, _nothing(kind, spoken, wants_local))


def _nothing(kind: Kind, spoken: str, wants_local: bool) -> str:
    if kind is LLM:
        what = "there is no model on this machine" if wants_local else "nothing is chosen for a language model"
        return f"{what}: name one (llm.provider, llm.model, llm.baseUrl) or set {KEY_VARIABLE}"
    what = f"no engine of this machine does {kind.word} in {spoken}" if wants_local else f"nothing is chosen for {kind.word}"
    return f"{what}: install the engines of this machine ({LOCAL_EXTRA}) or set {KEY_VARIABLE}"


def configured_vendor(kind: Kind, environment: Environment) -> tuple[str, str] | None:
    """The vendor whose key is in the environment, and the variable. Specialised vendors come before OpenAI."""
    local = {engine.name for engine in LOCAL_ENGINES[kind.section]}
    names = [name for name in known_providers(kind.section) if name not in local]
    for name in sorted(names, key=lambda name: (name == OPENAI, rank_of(kind.section, name))):
        variable = next((each for each in variables_of(kind.section, name) if environment.get(each)), None)
        if variable and (name != OPENAI or kind is LLM or _is_openai_itself(environment)):
            return name, variable
    if kind is LLM and OPENAI in names and environment.get(URL_VARIABLE):
        return OPENAI, URL_VARIABLE
    return None


def _why_no_vendor(environment: Environment) -> str:
    return f"{URL_VARIABLE} is another server" if environment.get(KEY_VARIABLE) else "no key"


def _is_openai_itself(environment: Environment) -> bool:
    return (environment.get(URL_VARIABLE) or OPENAI_URL).rstrip("/") == OPENAI_URL


def _usable(kind: Kind, language: str | None, environment: Environment) -> list[LocalEngine]:
    return [engine for engine in LOCAL_ENGINES[kind.section] if engine.is_usable(language, environment)]


def _stand_ins(kind: Kind, language: str | None, environment: Environment, *, after: str) -> tuple[str, ...]:
    """The local engines that take over from `after`: those that follow it in the list."""
    names = [engine.name for engine in _usable(kind, language, environment) if engine.stands_in or engine.name == after]
    return tuple(names[names.index(after) + 1 :]) if after in names else ()


def _engine_of_voice(voice: str, language: str | None, environment: Environment) -> str | None:
    """The local engine that has a voice named `voice`."""
    usable: dict[str, Callable[[], bool]] = {PIPER: lambda: has_voice(environment, voice), "espeak": lambda: not lacks_voice(voice)}
    present = {engine.name for engine in LOCAL_ENGINES["tts"] if engine.is_installed()}
    return next((name for name, has in usable.items() if name in present and has()), None)


def _voice_name(provider: str, option: TtsOption, environment: Environment) -> str:
    if provider == PIPER:
        voice = find_voice(environment, option.speaker or option.model, option.language)
        return voice.speaker if voice is not None else ""
    return option.speaker or option.model or (option.language or "") * (provider == "espeak")


def language_name(language: str | None) -> str:
    """A language name for a sentence: `English`, else its code."""
    if not language or language.lower() == "auto" or language.lower().startswith("en"):
        return "English"
    return language
