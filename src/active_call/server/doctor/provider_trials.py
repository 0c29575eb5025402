"""Tests providers as a call would use them: a short utterance to a recogniser, a word to a voice or a model, opening a conversation.

Targets enter; results leave, with the time to the first result, and advice after a failure. Every trial has a time limit, and its report
contains no key. It costs what the vendors charge for a second of speech and some tokens.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Mapping, Sequence
from importlib.resources import files

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.base.world import Clock
from active_call.contract.options import AsrOption, RealtimeOption, TtsOption
from active_call.providers.base import (
    ChatMessage,
    Failed,
    Final,
    RecognitionEvent,
    RecognitionStream,
    ReplyRequest,
    Services,
    TextDelta,
    speech_of,
)
from active_call.providers.credentials import without_secrets
from active_call.providers.declared import Declared
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.key_sets import KeySets
from active_call.providers.realtime_model import AgentSound, RealtimeEvent, RealtimeFailed, RealtimeSession, ReplyDone, Transcript
from active_call.providers.registry import create_realtime, create_recogniser, create_responder, create_synthesiser
from active_call.providers.settings import LlmSettings
from active_call.providers.shutdowns import shutdown_of
from active_call.providers.sources import warm
from active_call.providers.usage.billing import ANY_SERVER, provider_at
from active_call.providers.usage.units import Billed
from active_call.server.doctor.provider_targets import Target

TRIAL_S = 15.0
"""Time limit for one provider, in total."""
LOAD_S = 30.0
"""The time for a local engine to load its model."""
AT_ONCE = 4
WORD = "Hello."
UTTERANCE = "hello can you hear me"
REPLY_TOKENS = 16
"""The minimum that every vendor accepts."""
PIECE_S = 0.1
SILENCE_S = 0.5


class Trial(Struct, frozen=True):
    """The result of one target. `latency_ms`: until its first result (recognition: from the end of the utterance)."""

    target: Target
    ok: bool
    text: str
    latency_ms: int | None = None

    def as_json(self) -> dict[str, object]:
        target = self.target
        return {
            "kind": target.kind,
            "provider": target.provider,
            "usedBy": target.whose,
            "ok": self.ok,
            "latencyMs": self.latency_ms,
            "text": self.text,
        }


async def try_providers(
    targets: Sequence[Target], declared: Sequence[Declared], services: Services, key_sets: Mapping[str, Mapping[str, str]] | None = None
) -> list[Trial]:
    """The results of all targets, in order; several are tested at once. `key_sets`: the variables of each key set, by its name."""
    room = asyncio.Semaphore(AT_ONCE)
    sets = KeySets(services.environment)
    sets.use(key_sets or {})
    known = {(one.kind, name): one for one in declared if one.declaration is not None for name in one.declaration.names}

    async def one(target: Target) -> Trial:
        async with room:
            own = replace(services, environment=sets.of("" if target.mistake else target.keys).environment)
            return await _try(target, known.get((target.kind, target.provider)), own)

    return await asyncio.gather(*(one(target) for target in targets))


class Stopwatch:
    """Measures until the first result."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self.latency_ms: int | None = None

    def begin(self) -> None:
        """Start the time."""
        self._began = self._clock.now()

    def stop(self) -> None:
        """A result has come; later ones are ignored."""
        if self.latency_ms is None:
            self.latency_ms = round((self._clock.now() - self._began) * 1000)


async def _try(target: Target, declared: Declared | None, services: Services) -> Trial:
    if target.mistake:
        return Trial(target, False, target.mistake)
    watch = Stopwatch(services.world.clock)
    is_local = declared is not None and declared.declaration is not None and declared.declaration.transport == "local"
    limit_s = LOAD_S + TRIAL_S if is_local else TRIAL_S
    try:
        async with asyncio.timeout(limit_s):
            text = await _trial(target, services, watch)
    except TimeoutError:
        return Trial(target, False, f"no result within {limit_s:g} s")
    except ActiveCallError as error:
        return Trial(target, False, _told(error, target, declared, services.environment))
    except Exception as error:  # noqa: BLE001 - an adapter of another package; the others are still tested
        return Trial(target, False, _told(error, target, declared, services.environment))
    end = shutdown_of(_used(target, declared))
    return Trial(target, True, f"{text}; {end}" if end is not None else text, watch.latency_ms)


def _used(target: Target, declared: Declared | None) -> Billed:
    """The provider and the model of `target`; another vendor's server with the same protocol is another provider."""
    option, declaration = target.option, declared.declaration if declared is not None else None
    model = getattr(option, "model_type", None) or getattr(option, "model", None) or (declaration.default_model if declaration else "")
    url = getattr(option, "endpoint", None) or getattr(option, "base_url", None)
    provider = provider_at(url) if url and target.provider in ANY_SERVER else target.provider
    return Billed(target.kind, provider, model or "")  # type: ignore[arg-type]


def _told(error: Exception, target: Target, declared: Declared | None, environment: Mapping[str, str]) -> str:
    """The reason, and advice."""
    reason = str(error)
    declaration = declared.declaration if declared is not None else None
    page = declaration.key_page if declaration is not None else ""
    if page and page not in reason and isinstance(error, ProviderError) and not error.retryable:
        reason += f" (keys are made at {page})"
    return without_secrets(reason, [*_secrets(target), *(value for name, value in environment.items() if _is_secret(name))])


def _is_secret(name: str) -> bool:
    return any(part in name.upper() for part in ("KEY", "SECRET", "TOKEN", "PASSWORD"))


def _secrets(target: Target) -> list[str]:
    option = target.option
    values = [getattr(option, name, None) for name in ("secret_key", "secret_id", "api_key")]
    return [value for value in values if isinstance(value, str) and value]


async def _trial(target: Target, services: Services, watch: Stopwatch) -> str:
    """The recognised, spoken or written result. Raises ActiveCallError, TimeoutError."""
    match target.option:
        case AsrOption() as option:
            return await _recognise(option, services, watch)
        case TtsOption() as option:
            return await _speak(option, services, watch)
        case LlmSettings() as settings:
            return await _reply(settings, services, watch)
        case RealtimeOption() as option:
            return await _converse(option, services, watch)


async def _recognise(option: AsrOption, services: Services, watch: Stopwatch) -> str:
    inner = await asyncio.to_thread(create_recogniser, option, services)
    engine = GuardedSpeechToText(inner, services.world)
    done: asyncio.Future[Final] = asyncio.get_running_loop().create_future()

    def take(event: RecognitionEvent) -> None:
        if isinstance(event, Failed) and not done.done():
            done.set_exception(event.error)
        elif isinstance(event, Final) and not done.done():
            watch.stop()
            done.set_result(event)

    try:
        await warm(engine)
        stream = engine.open(take, language=option.language)
        try:
            stream.expect_phrases([UTTERANCE])
            await _say(stream, done, watch)
            heard = (await done).text
        finally:
            await stream.close()
    finally:
        await engine.close()
    return f"heard {heard!r}" if heard.strip() else "answers; heard no words in an English sentence"


async def _say(stream: RecognitionStream, done: asyncio.Future[Final], watch: Stopwatch) -> None:
    """Send the utterance at twice real time; stop once there is a result."""
    silence = bytes(2 * round(SILENCE_S * LISTEN_RATE_HZ))
    speech = utterance()
    sound, step, sample = silence + speech + silence, 2 * round(PIECE_S * LISTEN_RATE_HZ), 0
    stream.start_utterance(1, len(silence) // 2)
    for start in range(0, len(sound), step):
        piece = sound[start : start + step]
        stream.push_audio(piece, sample)
        sample += len(piece) // 2
        await asyncio.wait([done], timeout=PIECE_S / 2)
        if done.done():
            return
    watch.begin()
    stream.end_utterance(1, len(silence + speech) // 2)


def utterance() -> bytes:
    """A short English question, s16le at 16 kHz."""
    with (files("active_call.server.doctor") / "hello.wav").open("rb") as file, wave.open(file, "rb") as sound:
        return sound.readframes(sound.getnframes())


async def _speak(option: TtsOption, services: Services, watch: Stopwatch) -> str:
    engine = await asyncio.to_thread(create_synthesiser, option, services, attempts=1)
    try:
        if not engine.endpoint:  # a local engine: a caller does not wait for loading its model
            await warm(engine)
        watch.begin()
        n_bytes = 0
        async for chunk in speech_of(engine, WORD):
            if chunk.pcm:
                watch.stop()
            n_bytes += len(chunk.pcm)
    finally:
        await engine.close()
    return f"said {WORD!r} in {n_bytes / 2 / engine.capabilities.rate_hz:.1f} s of sound"


async def _reply(settings: LlmSettings, services: Services, watch: Stopwatch) -> str:
    model = await asyncio.to_thread(create_responder, settings, services, attempts=1)
    request = ReplyRequest((ChatMessage("user", "Reply with the word OK."),), max_tokens=REPLY_TOKENS)
    text = ""
    try:
        watch.begin()
        async for event in model.reply(request):
            watch.stop()
            if isinstance(event, TextDelta):
                text += event.text
    finally:
        await model.close()
    return f"replied {text.strip()[:40]!r}" if text.strip() else "answers; wrote no text within the few tokens that it was given"


async def _converse(option: RealtimeOption, services: Services, watch: Stopwatch) -> str:
    model = await asyncio.to_thread(create_realtime, option, services)
    done: asyncio.Future[RealtimeEvent] = asyncio.get_running_loop().create_future()

    def take(event: RealtimeEvent) -> None:
        if done.done():
            return
        if isinstance(event, RealtimeFailed):
            done.set_exception(event.error)
        elif isinstance(event, AgentSound | Transcript | ReplyDone):
            watch.stop()
            done.set_result(event)

    try:
        stream = model.open(RealtimeSession(instructions="Say OK.", voice=option.voice, detects_turns=False), take)
        try:
            stream.request_reply("Say OK.")
            await done
        finally:
            await stream.close()
    finally:
        await model.close()
    return "a conversation was opened, and the model spoke"
