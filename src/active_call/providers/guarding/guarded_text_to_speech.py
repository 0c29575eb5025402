"""The provider wall of a synthesis engine: every text with words gives sound in whole samples, or one ProviderError in time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from active_call.base.errors import ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.base.repair import valid_unicode
from active_call.base.weakly import weakly
from active_call.base.world import World
from active_call.providers.guarding.guard import Guard, ResultDeadline, limits_of
from active_call.providers.sources import connect_ahead, warm
from active_call.providers.speech.recorded_text import RecordedText
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeech, WordTime
from active_call.providers.usage.billing import billed_by
from active_call.providers.usage.metering import current_meter
from active_call.providers.usage.speech_usage import SpeechMeter
from active_call.providers.vendor_values import SoundCheck, text_of

MAX_SOUND_S = 1200
"""The most sound of one stream."""
MIN_PIECE_S = 0.01
"""Shorter pieces of sound are joined to the next one: a vendor that sends single samples makes no progress, and meets its deadline."""
MAX_WORDS = 20_000
"""The most words of one stream."""


class GuardedTextToSpeech:
    """A synthesis engine behind the wall."""

    def __init__(self, inner: TextToSpeech, world: World, *, attempts: int | None = None, default_model: str = "") -> None:
        self.name = inner.name
        self.billed = billed_by("tts", inner, default_model)
        self.capabilities = inner.capabilities
        self.endpoint: str | None = getattr(inner, "endpoint", None)
        """The server that is used, if there is one."""
        self.guard = Guard(inner.name, world, limits_of(inner, attempts))
        self.inner = inner

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> GuardedSynthesis:
        return GuardedSynthesis(self, speaker, speed)

    async def connect_ahead(self) -> None:
        """Open a connection for the next text."""
        await connect_ahead(self.inner)

    async def warm(self) -> None:
        """Load the engine's models."""
        await warm(self.inner)

    async def close(self) -> None:
        await self.inner.close()


class GuardedSynthesis:
    """One stream. An attempt that fails before its first chunk is repeated with the same text, as the limits allow.

    Deadlines count from `flush` or `end_text` to the first chunk, and from chunk to chunk once the text has ended.
    """

    def __init__(self, engine: GuardedTextToSpeech, speaker: str | None, speed: float | None) -> None:
        self._engine = engine
        self._speaker = speaker
        self._speed = speed
        self._text = RecordedText()
        self._has_begun = False
        self._meter = current_meter()
        self._deadline = ResultDeadline(engine.guard.limits.next_result_s, weakly(self._is_due, lambda: False))
        self._chunks = engine.guard.stream(self._attempt, self._deadline)

    def push_text(self, text: str) -> None:
        self._text.push_text(valid_unicode(text))

    def flush(self) -> None:
        self._text.flush()
        self._ask()

    def end_text(self) -> None:
        self._text.end_text()
        self._ask()

    def __aiter__(self) -> GuardedSynthesis:
        return self

    async def __anext__(self) -> SpeechChunk:
        return await anext(self._chunks)

    async def cancel(self) -> None:
        await self._chunks.aclose()

    def _is_due(self) -> bool:
        return self._text.is_ended or (self._text.is_flushed and not self._has_begun)

    def _ask(self) -> None:
        if self._is_due():
            self._deadline.start()

    async def _attempt(self) -> AsyncGenerator[SpeechChunk, None]:
        engine = self._engine
        check, was_refused = ChunkCheck(engine.name, engine.capabilities.rate_hz), False
        used = SpeechMeter(engine.billed, engine.capabilities.rate_hz, self._meter)
        stream = engine.inner.open(speaker=self._speaker, speed=self._speed)
        try:
            self._text.attach(stream)
            async for chunk in stream:
                if (checked := check.feed(chunk)) is not None:
                    self._has_begun = True
                    used.spoke(len(checked.pcm), self._text.n_chars)
                    yield checked
        except Exception:
            was_refused = True
            raise
        finally:
            used.close(self._text.n_chars, was_refused=was_refused)
            self._text.detach(stream)
            await stream.cancel()
        if rest := check.finish():
            yield SpeechChunk(rest)
        if not check.n_bytes and self._text.has_words:
            raise ProviderError(engine.name, "returned no sound", retryable=True)


class ChunkCheck:
    """Validates chunks: whole samples, words with finite times in order."""

    def __init__(self, provider: str, rate_hz: int) -> None:
        self._provider = provider
        self._sound = SoundCheck(provider, rate_hz * BYTES_PER_SAMPLE * MAX_SOUND_S)
        self._least_bytes = round(rate_hz * MIN_PIECE_S) * BYTES_PER_SAMPLE
        self._held = b""
        self._n_words = 0

    @property
    def n_bytes(self) -> int:
        return self._sound.n_bytes

    def feed(self, chunk: Any) -> SpeechChunk | None:
        """The complete samples of `chunk`, or None. Raises ProviderError if it is not sound."""
        if not isinstance(chunk, SpeechChunk):
            raise ProviderError(self._provider, f"sent {type(chunk).__name__} instead of sound")
        words = tuple(word for word in map(_word, chunk.words) if word is not None)[: MAX_WORDS - self._n_words]
        self._n_words += len(words)
        pcm, self._held = self._held + self._sound.feed(chunk.pcm), b""
        if len(pcm) < self._least_bytes and not (words or chunk.ends_flush):
            self._held = pcm
            return None
        return SpeechChunk(pcm, words, chunk.is_substitute, bool(chunk.ends_flush)) if pcm or words or chunk.ends_flush else None

    def finish(self) -> bytes:
        """The remaining samples."""
        return self._held + self._sound.finish()


def _word(word: Any) -> WordTime | None:
    """`word` with valid values; None if its times are invalid."""
    if not isinstance(word, WordTime):
        return None
    times: tuple[Any, Any] = (word.start_ms, word.end_ms)
    text = valid_unicode(text_of(word.text)).strip()
    if not text or not all(isinstance(ms, int | float) and 0 <= ms <= MAX_SOUND_S * 1000 for ms in times):
        return None
    return WordTime(text, float(word.start_ms), float(max(times)))
