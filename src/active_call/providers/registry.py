"""Finds adapters by entry point, chooses the default, and keeps one instance per distinct option.

An option enters; a guarded Recogniser, Synthesiser or Responder leaves. Groups: `active_call.asr`, `active_call.tts`, `active_call.llm`;
the entry point's name is the provider's, its object a `create(option, services)`. No adapter is imported before it is chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

import msgspec

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import Services, SpeechToText
from active_call.providers.guard import GuardedChatModel, GuardedTextToSpeech
from active_call.providers.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.kept_engines import KeptEngines
from active_call.providers.settings import LlmSettings
from active_call.providers.speech_cache import CachedSpeech, CachedTextToSpeech
from active_call.providers.speech_key import Voice

__all__ = ["Engines", "LlmSettings", "create_recogniser", "create_responder", "create_synthesiser", "known_providers"]

LOCAL_EXTRA = "pip install 'active-call[local]'"
PIP_COMMANDS = {"pocketsphinx": LOCAL_EXTRA, "espeakng_loader": LOCAL_EXTRA}
"""How a missing module is installed, where it is not simply `pip install` and its name."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three kinds of provider: its section in config, its engine without a key, and the module that engine needs."""

    section: str
    word: str
    local: str | None = None
    local_module: str | None = None

    @property
    def group(self) -> str:
        return f"active_call.{self.section}"

    @property
    def key(self) -> str:
        return f"{self.section}.provider"


_ASR = _Kind("asr", "speech recognition", "pocketsphinx", "pocketsphinx")
_TTS = _Kind("tts", "speech synthesis", "espeak", "espeakng_loader")
_LLM = _Kind("llm", "a language model")
_KINDS = {kind.section: kind for kind in (_ASR, _TTS, _LLM)}


def known_providers(section: str) -> list[str]:
    """The names that `asr.provider`, `tts.provider` or `llm.provider` may take on this installation, sorted."""
    return sorted(_adapters(_KINDS[section]))


def create_recogniser(option: AsrOption, services: Services) -> SpeechToText:
    """The recogniser that `option` asks for, or the default. Raises ConfigError."""
    provider = option.provider or _default_provider(_ASR, services.environment)
    recogniser: SpeechToText = _load(_ASR, provider)(option, services)
    return recogniser


def create_synthesiser(option: TtsOption, services: Services) -> GuardedTextToSpeech:
    """The synthesiser that `option` asks for, or the default, behind the provider wall. Raises ConfigError."""
    provider = option.provider or _default_provider(_TTS, services.environment)
    return GuardedTextToSpeech(_load(_TTS, provider)(option, services), services.world)


def create_responder(settings: LlmSettings, services: Services) -> GuardedChatModel:
    """The responder that `settings` ask for, or the default, behind the provider wall. Raises ConfigError."""
    provider = _llm_provider(settings, services.environment)
    return GuardedChatModel(_load(_LLM, provider)(settings, services), services.world)


class Engines:
    """Instances by option: equal options share one, with its connections, caches and circuit state. Used on the loop only.

    The most recently used ones are kept; an older one is closed when nobody holds it any more.
    Synthesisers look on `shelf`, if there is one, for what was prepared.
    """

    def __init__(self, services: Services, shelf: CachedSpeech | None = None) -> None:
        self._services = services
        self._shelf = shelf
        self._recognisers: KeptEngines[GuardedSpeechToText] = KeptEngines(lambda engine: engine.inner.close)
        self._synthesisers: KeptEngines[CachedTextToSpeech] = KeptEngines(lambda engine: engine.inner.close)
        self._responders: KeptEngines[GuardedChatModel] = KeptEngines(lambda engine: engine.inner.close)

    def get_recogniser(self, option: AsrOption) -> GuardedSpeechToText:
        """The shared recogniser of `option`, created now if need be. Raises ConfigError."""
        return self._recognisers.get(_key_of(option), lambda: GuardedSpeechToText(create_recogniser(option, self._services)))

    def get_synthesiser(self, option: TtsOption) -> CachedTextToSpeech:
        """The shared synthesiser of `option`, with its cache of sentences in memory. Raises ConfigError.

        A `cache_key` names one sound and not a voice; here it makes no difference.
        """
        option = msgspec.structs.replace(option, cache_key=None)
        return self._synthesisers.get(_key_of(option), lambda: self._make_synthesiser(option))

    def _make_synthesiser(self, option: TtsOption) -> CachedTextToSpeech:
        engine = create_synthesiser(option, self._services)
        voice = Voice(engine.name, msgspec.structs.replace(option, endpoint=engine.endpoint or option.endpoint))
        return CachedTextToSpeech(engine, voice=voice, shelf=self._shelf)

    def get_responder(self, settings: LlmSettings) -> GuardedChatModel:
        """The shared responder of `settings`. Raises ConfigError."""
        return self._responders.get(_key_of(settings), lambda: create_responder(settings, self._services))

    async def warm(self, *options: AsrOption | TtsOption | LlmSettings) -> None:
        """Create the engines of `options`, importing their adapters in a thread (the OpenAI SDK alone takes a second), and let
        everything created so far load its models now instead of in the first call. Raises ConfigError and ProviderError.
        """
        for option in options:
            await self._create(option)
        for engine in [*self._recognisers.all(), *self._synthesisers.all(), *self._responders.all()]:
            warm = getattr(engine, "warm", None)
            if warm is not None:
                await warm()

    async def _create(self, option: AsrOption | TtsOption | LlmSettings) -> None:
        match option:
            case AsrOption():
                await asyncio.to_thread(_load, _ASR, option.provider or _default_provider(_ASR, self._services.environment))
                self.get_recogniser(option)
            case TtsOption():
                await asyncio.to_thread(_load, _TTS, option.provider or _default_provider(_TTS, self._services.environment))
                self.get_synthesiser(option)
            case LlmSettings():
                await asyncio.to_thread(_load, _LLM, _llm_provider(option, self._services.environment))
                self.get_responder(option)

    async def close(self) -> None:
        """Close every instance. The engine processes of `services.local` are their owner's to close."""
        await self._recognisers.close()
        await self._synthesisers.close()
        await self._responders.close()


def _key_of(option: AsrOption | TtsOption | LlmSettings) -> bytes:
    return msgspec.msgpack.encode(option, order="deterministic")


def _adapters(kind: _Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.group)}


def _load(kind: _Kind, provider: str) -> Callable[[Any, Services], Any]:
    adapters = _adapters(kind)
    point = adapters.get(provider.lower())
    if point is None:
        raise ConfigError(kind.key, f"unknown provider {provider!r}; known here: {', '.join(sorted(adapters)) or 'none'}")
    try:
        create: Callable[[Any, Services], Any] = point.load()
    except ModuleNotFoundError as error:
        raise missing_package(kind.key, provider, error.name or "") from error
    return create


def missing_package(key: str, provider: str, module: str) -> ConfigError:
    """The error for a provider whose Python package is not installed, with the command that installs it."""
    command = PIP_COMMANDS.get(module.partition(".")[0], f"pip install {module.partition('.')[0]}")
    return ConfigError(key, f"{provider!r} needs the Python package {module!r}, which is not installed: {command}")


def _llm_provider(settings: LlmSettings, environment: Mapping[str, str]) -> str:
    if settings.provider is not None:
        return settings.provider
    return "openai" if settings.base_url or settings.api_key else _default_provider(_LLM, environment)


def _default_provider(kind: _Kind, environment: Mapping[str, str]) -> str:
    if kind.local and kind.local_module and find_spec(kind.local_module) is not None:
        return kind.local
    if environment.get("OPENAI_API_KEY"):
        return "openai"
    ways = "set OPENAI_API_KEY"
    if kind.local:
        ways = f"install the engines of this machine ({LOCAL_EXTRA}) or {ways}"
    else:
        ways = f"name one (llm.provider, llm.model, llm.baseUrl) or {ways}"
    raise ConfigError(kind.key, f"nothing is chosen for {kind.word}: {ways}")
