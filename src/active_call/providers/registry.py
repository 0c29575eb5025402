"""Finds adapters, chooses the default, and keeps one instance for equal options.

In: an option. Out: an engine behind the provider wall, with its fallbacks. No adapter is imported before it is chosen. `trust` names
the hosts that this call may connect to in addition to those open to every call, and its key set. An engine whose hosts need trust, or whose
keys come from a key set, is shared only among calls with that trust.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from active_call.base.errors import ConfigError
from active_call.base.trust import NO_TRUST, Place, Trust, urls_of_values
from active_call.contract.options import NO_RECOGNISER, AsrOption, RealtimeOption, TtsOption
from active_call.providers.chat import ChatModel
from active_call.providers.entry_points import ASR, LLM, REALTIME, TTS, Create, default_model_of, known_providers, load_adapter
from active_call.providers.guarding.engine_cache import EngineCache
from active_call.providers.guarding.failover import FailoverChatModel, FailoverTextToSpeech
from active_call.providers.guarding.fallbacks import asr_chain, hedge_after_s, llm_chain, tts_chain
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_realtime import GuardedRealtimeModel
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.guarding.supervisor import SupervisedSpeechToText
from active_call.providers.key_sets import KeySet, KeySets
from active_call.providers.selection import Selection, resolved, select_asr, select_llm, select_tts, selections
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings
from active_call.providers.shutdowns import shutdown_of
from active_call.providers.sources import EngineLoader, warm
from active_call.providers.speech.speech_cache import CachedSpeech, CachedTextToSpeech
from active_call.providers.speech.speech_key import Voice
from active_call.providers.speech_to_text import SpeechToText
from active_call.providers.text_to_speech import TextToSpeech
from active_call.providers.turn.judge import TurnJudge
from active_call.providers.turn.smart_turn import SmartTurn
from active_call.providers.usage.units import Billed

__all__ = [
    "Engines",
    "LlmSettings",
    "create_realtime",
    "create_recogniser",
    "create_responder",
    "create_synthesiser",
    "known_providers",
]

logger = logging.getLogger(__name__)

Option = AsrOption | TtsOption | LlmSettings | RealtimeOption


def create_recogniser(option: AsrOption, services: Services) -> SpeechToText:
    """The recognition engine that `option` selects, or the default, without fallbacks. Raises ConfigError."""
    engine: SpeechToText = _adapter(option, services.environment)(option, services)
    return engine


def create_synthesiser(option: TtsOption, services: Services, *, attempts: int | None = None) -> GuardedTextToSpeech:
    """The synthesis engine that `option` selects, or the default, behind the provider wall, without fallbacks. Raises ConfigError."""
    inner, model = _adapter(option, services.environment)(option, services), _model_of(option, services)
    engine = GuardedTextToSpeech(inner, services.world, attempts=attempts, default_model=model)
    _warn_of_end(engine.billed)
    return engine


def create_responder(settings: LlmSettings, services: Services, *, attempts: int | None = None) -> GuardedChatModel:
    """The language model that `settings` select, or the default, behind the provider wall, without fallbacks. Raises ConfigError."""
    inner, model = _adapter(settings, services.environment)(settings, services), _model_of(settings, services)
    engine = GuardedChatModel(inner, services.world, attempts=attempts, default_model=model)
    _warn_of_end(engine.billed)
    return engine


def create_realtime(option: RealtimeOption, services: Services) -> GuardedRealtimeModel:
    """The speech-to-speech model that `option` selects, behind the provider wall. Raises ConfigError."""
    inner, model = _adapter(option, services.environment)(option, services), _model_of(option, services)
    engine = GuardedRealtimeModel(inner, services.world, default_model=model)
    _warn_of_end(engine.billed)
    return engine


def _warn_of_end(used: Billed) -> None:
    if (end := shutdown_of(used)) is not None:
        logger.warning("model ends", extra={"kind": used.kind, "provider": used.provider, "model": used.model, "reason": str(end)})


class Engines:
    """Instances by option: equal options share one, with its connections, caches and circuit state. Used on the loop only.

    Calls share an instance only if they may connect to the same hosts and have the same keys. The most recently used instances are kept; an
    older one is closed when no call holds it. Prepared speech is taken from `prepared`, if given.
    """

    def __init__(self, services: Services, prepared: CachedSpeech | None = None) -> None:
        self._services = services
        self._prepared = prepared
        self._keys = KeySets(services.environment)
        self._recognisers: EngineCache[SupervisedSpeechToText] = EngineCache(lambda engine: engine.inner.close)
        self._synthesisers: EngineCache[CachedTextToSpeech] = EngineCache(lambda engine: engine.inner.close)
        self._responders: EngineCache[GuardedChatModel] = EngineCache(lambda engine: engine.inner.close)
        self._realtime: EngineCache[GuardedRealtimeModel] = EngineCache(lambda engine: engine.inner.close)
        self._turn_judges: dict[str, SmartTurn] = {}
        self._loader = EngineLoader()

    def use_key_sets(self, variables: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the key sets: the variables of each set by its name (`key_sets`). Existing calls keep their keys."""
        self._keys.use(variables)

    def get_recogniser(self, option: AsrOption, trust: Trust = NO_TRUST) -> SupervisedSpeechToText:
        """The shared recognition engine of `option` with its fallbacks, created if needed. Raises ConfigError."""
        keys = self._keys.of(trust.keys)
        option = keys.choices.of(resolved, option)
        first, *others = asr_chain(option)
        fallbacks = [self.get_recogniser(other, trust) for other in others]
        return self._recognisers.get(
            _key_of(option, self._trusted(option, trust), keys),
            lambda: self._make_recogniser(first, fallbacks, trust, hedge_after_s(option)),
        )

    def _make_recogniser(
        self, option: AsrOption, fallbacks: list[SupervisedSpeechToText], trust: Trust, hedge_after: float | None
    ) -> SupervisedSpeechToText:
        services = self._services_for(self._trusted(option, trust), self._keys.of(trust.keys))
        engine = GuardedSpeechToText(create_recogniser(option, services), services.world, default_model=_model_of(option, services))
        _warn_of_end(engine.billed)
        return SupervisedSpeechToText(engine, fallbacks, hedge_after)

    def get_synthesiser(self, option: TtsOption, trust: Trust = NO_TRUST) -> TextToSpeech:
        """The shared synthesis engine of `option`, with its cache of sentences in memory, and its fallbacks. Raises ConfigError."""
        chain = tts_chain(self._keys.of(trust.keys).choices.of(resolved, option))
        engines = [self.get_voice(each, trust, has_fallback=each is not chain[-1]) for each in chain]
        return engines[0] if len(engines) == 1 else FailoverTextToSpeech(engines, hedge_after_s(option))

    def get_voice(self, option: TtsOption, trust: Trust = NO_TRUST, *, has_fallback: bool = False) -> CachedTextToSpeech:
        """The shared synthesis engine of `option`, without fallbacks. Raises ConfigError.

        A `cache_key` names one sound, not a voice, so it is ignored here. With a fallback configured the engine gets one attempt only, so
        that the fallback's sound comes within the agent's patience.
        """
        keys = self._keys.of(trust.keys)
        provider = keys.choices.of(select_tts, option).provider
        option = msgspec.structs.replace(option, provider=provider, cache_key=None, fallback=None, hedge=None)
        trusted = self._trusted(option, trust)
        return self._synthesisers.get(
            _key_of(option, trusted, keys, has_fallback),
            lambda: self._make_voice(option, has_fallback, self._services_for(trusted, keys)),
        )

    def _make_voice(self, option: TtsOption, has_fallback: bool, services: Services) -> CachedTextToSpeech:
        engine = create_synthesiser(option, services, attempts=1 if has_fallback else None)
        voice = Voice(engine.name, msgspec.structs.replace(option, endpoint=engine.endpoint or option.endpoint))
        return CachedTextToSpeech(engine, voice=voice, prepared=self._prepared)

    def get_responder(self, settings: LlmSettings, trust: Trust = NO_TRUST) -> ChatModel:
        """The shared language model of `settings`, with its fallbacks. Raises ConfigError."""
        chain = llm_chain(self._keys.of(trust.keys).choices.of(resolved, settings))
        models = [self._get_model(each, trust, has_fallback=each is not chain[-1]) for each in chain]
        return models[0] if len(models) == 1 else FailoverChatModel(models, settings.hedge_after_s)

    def _get_model(self, settings: LlmSettings, trust: Trust, *, has_fallback: bool) -> GuardedChatModel:
        keys, trusted = self._keys.of(trust.keys), self._trusted(settings, trust)
        return self._responders.get(
            _key_of(settings, trusted, keys, has_fallback),
            lambda: create_responder(settings, self._services_for(trusted, keys), attempts=1 if has_fallback else None),
        )

    def get_realtime(self, option: RealtimeOption, trust: Trust = NO_TRUST) -> GuardedRealtimeModel:
        """The shared speech-to-speech model of `option`. Raises ConfigError."""
        keys, trusted = self._keys.of(trust.keys), self._trusted(option, trust)
        return self._realtime.get(_key_of(option, trusted, keys), lambda: create_realtime(option, self._services_for(trusted, keys)))

    def _services_for(self, trusted: frozenset[Place], keys: KeySet) -> Services:
        return replace(self._services.trusting(trusted), environment=keys.environment)

    def _trusted(self, option: Option, trust: Trust) -> frozenset[Place]:
        """The hosts named by `option` and its fallbacks to which only calls with `trust` may connect."""
        return self._services.trusted_among(urls_of_values(msgspec.to_builtins(option)), trust) if trust.hosts else frozenset()

    def get_turn_judge(self, model: str | None = None) -> TurnJudge:
        """The shared model that detects the end of a turn from sound: the ONNX file `model`, else the installed one. Raises ConfigError."""
        key = model or ""
        if key not in self._turn_judges:
            self._turn_judges[key] = SmartTurn(model, self._services.local)
        return self._turn_judges[key]

    def selection(self, asr: AsrOption, tts: TtsOption, llm: LlmSettings | None, trust: Trust = NO_TRUST) -> tuple[Selection, ...]:
        """Which engines these options select, and why, for display and for the record. Raises ConfigError."""
        return self._keys.of(trust.keys).choices.of(_selections, (asr, tts, llm))

    def has_room(self, n_calls: int = 0) -> bool:
        """Whether the local engines keep up, so that one more call may be accepted beside `n_calls`."""
        return self._services.local.has_room(n_calls)

    async def create(self, *options: Option, trust: Trust = NO_TRUST) -> None:
        """Create the engines of `options` for calls with `trust`, without loading models, so that mistakes appear now, not in the first
        call.

        Adapters are imported in a thread: their packages may take a second. Raises ConfigError.
        """
        for option in options:
            await self._create(option, trust)

    async def warm(self, *options: Option, trust: Trust = NO_TRUST) -> None:
        """As `create`; then load the models of all engines created so far, instead of in the first call. Also raises ProviderError."""
        await self.create(*options, trust=trust)
        for engine in self._all():
            self._loader.loaded.add(engine)
            await warm(engine)

    def load(self) -> None:
        """Load the models of all engines created so far in the background, unless they are loaded. Called when a call rings: its engines
        start loading together, and continue if that call ends. A failure is logged; the first use then raises its own error.
        """
        self._loader.load(self._all())

    def _all(self) -> list[object]:
        return [*self._recognisers.all(), *self._synthesisers.all(), *self._responders.all(), *self._realtime.all()]

    async def _create(self, option: Option, trust: Trust) -> None:
        chain: Sequence[Option]
        create: Callable[[], object]
        environment = self._keys.of(trust.keys).environment
        match option:
            case AsrOption(provider=provider) if provider == NO_RECOGNISER:
                return
            case AsrOption():
                chain, create = asr_chain(resolved(option, environment)), lambda: self.get_recogniser(option, trust)
            case TtsOption():
                chain, create = tts_chain(resolved(option, environment)), lambda: self.get_synthesiser(option, trust)
            case LlmSettings():
                chain, create = llm_chain(resolved(option, environment)), lambda: self.get_responder(option, trust)
            case RealtimeOption():
                chain, create = [option], lambda: self.get_realtime(option, trust)
        for each in chain:
            await asyncio.to_thread(_adapter, each, environment)
        create()

    async def close(self) -> None:
        """Close every instance. The owner of `services.local` closes the engine processes."""
        await self._loader.close()
        await self._recognisers.close()
        await self._synthesisers.close()
        await self._responders.close()
        await self._realtime.close()
        for judge in self._turn_judges.values():
            await judge.close()


def _selections(options: tuple[AsrOption, TtsOption, LlmSettings | None], environment: Mapping[str, str]) -> tuple[Selection, ...]:
    return selections(*options, environment)


def _key_of(option: Option, trusted: frozenset[Place], keys: KeySet, has_fallback: bool = False) -> bytes:
    return msgspec.msgpack.encode([option, has_fallback, sorted(trusted), keys.mark], order="deterministic")


def _model_of(option: Option, services: Services) -> str:
    """The model that `option` names, else the adapter's default, as the price list names it; empty if neither names one."""
    named = option.model_type if isinstance(option, AsrOption) else option.model
    return named or default_model_of(_adapter(option, services.environment))


def _adapter(option: Option, environment: Mapping[str, str]) -> Create:
    """The `create` of the adapter that `option` selects, or of the default. Raises ConfigError."""
    match option:
        case AsrOption():
            return load_adapter(ASR, select_asr(option, environment).provider)
        case TtsOption():
            return load_adapter(TTS, select_tts(option, environment).provider)
        case LlmSettings():
            return load_adapter(LLM, select_llm(option, environment).provider)
        case RealtimeOption():
            if option.provider is None:
                raise ConfigError(REALTIME.key, f"missing; known here: {', '.join(known_providers(REALTIME.section)) or 'none'}")
            return load_adapter(REALTIME, option.provider)
