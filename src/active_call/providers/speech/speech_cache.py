"""Keeps spoken sentences in memory, so that a greeting is synthesised only once.

Text, speaker and speed enter; sound leaves: from memory, from prepared speech, or from the engine. Calls that request a sentence while it
is being synthesised share that one rendition. Limited by bytes; the least recently used is dropped first. Knows no vendor and no file.
A text that is complete when requested is a sentence here: it is looked up and synthesised as a whole. For engines without streamed text,
the text between two flushes is also a sentence. Text that is spoken while being written goes to the engine uncached: its rest is not
known yet, and its clauses share one prosody.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Protocol

from active_call.contract.options import TtsOption
from active_call.providers.sources import connect_ahead, warm
from active_call.providers.speech.speech_key import Voice
from active_call.providers.speech.speech_rendition import SpeechRendition
from active_call.providers.speech.written_text import WholeOrWritten
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeech, speech_of
from active_call.providers.tts.whole_text import WholeTextStream
from active_call.providers.usage.billing import billed_by
from active_call.providers.usage.metering import current_meter
from active_call.providers.usage.units import Billed, Unit, Used

DEFAULT_LIMIT_BYTES = 32 * 1024 * 1024
"""12 minutes at 22 050 Hz."""

Key = tuple[str, str | None, float | None]


class CachedSpeech(Protocol):
    """Prepared speech (`POST /precache`), which outlives the process."""

    def prepared(self, key: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        """The sound for that `Voice.key_of`, in pieces; None if there is no such sound at that rate."""
        ...


class CachedTextToSpeech:
    """A synthesis engine with a cache of sentences. `hits` and `misses` count for metrics; `voice` makes the keys."""

    def __init__(
        self,
        inner: TextToSpeech,
        *,
        voice: Voice | None = None,
        prepared: CachedSpeech | None = None,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self.name = inner.name
        self.capabilities = inner.capabilities
        self.voice = voice or Voice(inner.name, TtsOption())
        self.hits = 0
        self.misses = 0
        self.size_bytes = 0
        self.billed: Billed = getattr(inner, "billed", None) or billed_by("tts", inner)
        self.inner = inner
        self._prepared_speech = prepared
        self._limit_bytes = limit_bytes
        self._done: OrderedDict[Key, tuple[SpeechChunk, ...]] = OrderedDict()
        self._making: dict[Key, SpeechRendition] = {}

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> SynthesisStream:
        def sentences() -> SynthesisStream:
            return WholeTextStream(lambda text: self._speak(text, speaker, speed), self.capabilities.rate_hz)

        if not self.capabilities.streaming_text:
            return sentences()
        return WholeOrWritten(sentences, lambda: self.inner.open(speaker=speaker, speed=speed))

    async def _speak(self, text: str, speaker: str | None, speed: float | None) -> AsyncGenerator[SpeechChunk, None]:
        key = (text, speaker, speed)
        kept = self._done.get(key)
        if kept is not None:
            self._note_hit(text)
            self._done.move_to_end(key)
            for chunk in kept:
                yield chunk
            return
        rendition = self._making.get(key)
        if rendition is None:
            self.misses += 1
            rendition = self._making[key] = SpeechRendition(self._prepared_or_made(text, speaker, speed))
            rendition.task.add_done_callback(lambda _: self._keep(key, rendition))
        else:
            self._note_hit(text)
        try:
            async with aclosing(rendition.listen(self.name)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            if rendition.is_abandoned and self._making.get(key) is rendition:
                del self._making[key]

    def _note_hit(self, text: str) -> None:
        """`text` is cached, or being synthesised for another call: it costs nothing."""
        self.hits += 1
        self._report_kept(text)

    def _report_kept(self, text: str) -> None:
        current_meter()(Used(self.billed, {Unit.CACHED_CHARACTERS: float(len(text))}))

    async def connect_ahead(self) -> None:
        """Open a connection for the next text that is not cached."""
        await connect_ahead(self.inner)

    async def warm(self) -> None:
        """Load the engine's models."""
        await warm(self.inner)

    async def close(self) -> None:
        """Stop renditions in progress, drop the cache and close the engine."""
        tasks = [rendition.task for rendition in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._done.clear()
        self.size_bytes = 0
        await self.inner.close()

    async def _prepared_or_made(self, text: str, speaker: str | None, speed: float | None) -> AsyncGenerator[SpeechChunk, None]:
        if self._prepared_speech is not None:
            is_prepared = False
            key, rate_hz = self.voice.key_of(text, speaker, speed), self.capabilities.rate_hz
            async with aclosing(self._prepared_speech.prepared(key, rate_hz)) as pieces:
                async for pcm in pieces:
                    is_prepared = True
                    yield SpeechChunk(pcm)
            if is_prepared:
                self._report_kept(text)
                return
        async with aclosing(speech_of(self.inner, text, speaker=speaker, speed=speed)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _keep(self, key: Key, rendition: SpeechRendition) -> None:
        """A rendition has ended: cache it if it is complete and fits."""
        if self._making.get(key) is rendition:
            del self._making[key]
        size = _size_bytes(rendition.chunks)
        if not rendition.may_be_kept or size > self._limit_bytes // 4 or key in self._done:
            return
        self._done[key] = tuple(rendition.chunks)
        self.size_bytes += size
        while self.size_bytes > self._limit_bytes:
            _, oldest = self._done.popitem(last=False)
            self.size_bytes -= _size_bytes(oldest)


def _size_bytes(chunks: Iterable[SpeechChunk]) -> int:
    return sum(len(chunk.pcm) for chunk in chunks)
