"""Synthesis of one complete text at a time, shared by engines that work so.

Text is collected until `flush` or `end_text`; each of these makes one request. An adapter implements only `synthesise`. Knows no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from msgspec.structs import replace

from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.providers.sources import close_source
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime


class WholeTextToSpeech:
    """The base of a `TextToSpeech` that makes the sound of one whole text at a time. `rate_hz` is the rate of its sound."""

    name: str
    rate_hz: int

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz)

    def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        """Yield the sound of `text` as it is made, in pieces of any (even) length. Closing the iterator cancels the rest."""
        raise NotImplementedError

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        return WholeTextStream(lambda text: _as_chunks(self.synthesise(text, speaker=speaker, speed=speed)), self.rate_hz)


class WholeTextStream:
    """`base.SynthesisStream` over a function that yields the chunks of one text, with word times from its own start."""

    def __init__(self, synthesise: Callable[[str], AsyncIterator[SpeechChunk]], rate_hz: int) -> None:
        self._synthesise = synthesise
        self._rate_hz = rate_hz
        self._pending = ""
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._chunks = self._make()

    def push_text(self, text: str) -> None:
        self._pending += text

    def flush(self) -> None:
        text, self._pending = self._pending, ""
        if text:
            self._texts.put_nowait(text)

    def end_text(self) -> None:
        self.flush()
        self._texts.put_nowait(None)

    def __aiter__(self) -> WholeTextStream:
        return self

    async def __anext__(self) -> SpeechChunk:
        return await anext(self._chunks)

    async def cancel(self) -> None:
        self._texts.put_nowait(None)
        with contextlib.suppress(RuntimeError):  # another task waits for this generator, and ends with it
            await self._chunks.aclose()

    async def _make(self) -> AsyncGenerator[SpeechChunk, None]:
        n_bytes = 0
        while (text := await self._texts.get()) is not None:
            began_ms = n_bytes / BYTES_PER_SAMPLE * 1000 / self._rate_hz
            source = self._synthesise(text)
            try:
                async for chunk in source:
                    n_bytes += len(chunk.pcm)
                    yield _later(chunk, began_ms) if began_ms and chunk.words else chunk
            finally:
                await close_source(source)
            yield SpeechChunk(b"", ends_flush=True)


def _later(chunk: SpeechChunk, ms: float) -> SpeechChunk:
    words = tuple(WordTime(word.text, word.start_ms + ms, word.end_ms + ms) for word in chunk.words)
    return replace(chunk, words=words)


async def _as_chunks(source: AsyncIterator[bytes]) -> AsyncGenerator[SpeechChunk, None]:
    try:
        async for pcm in source:
            yield SpeechChunk(pcm)
    finally:
        await close_source(source)
