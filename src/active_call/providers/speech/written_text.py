"""Speech for texts that are not complete when speaking begins.

`WholeOrWritten` is a stream that uses one engine for complete texts and another one for texts still being written. `WrittenSpeech`
speaks the clauses of a reply as they come, each with its own sound, and survives the loss of a connection between two of them. Knows no
vendor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from active_call.base.errors import ProviderError
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeech

logger = logging.getLogger(__name__)


class WholeOrWritten:
    """`SynthesisStream` over one of two, by the first request: `end_text` means that the text is complete, `flush` that it is not."""

    def __init__(self, whole: Callable[[], SynthesisStream], written: Callable[[], SynthesisStream]) -> None:
        self._whole = whole
        self._written = written
        self._pending = ""
        self._stream: SynthesisStream | None = None
        self._is_decided = asyncio.Event()
        self._is_cancelled = False

    def push_text(self, text: str) -> None:
        if self._stream is None:
            self._pending += text
        else:
            self._stream.push_text(text)

    def flush(self) -> None:
        if self._pending.strip() or self._stream is not None:
            self._decide(self._written).flush()

    def end_text(self) -> None:
        self._decide(self._whole).end_text()

    def _decide(self, open_stream: Callable[[], SynthesisStream]) -> SynthesisStream:
        if self._stream is None:
            self._stream = open_stream()
            self._stream.push_text(self._pending)
            self._pending = ""
            self._is_decided.set()
        return self._stream

    def __aiter__(self) -> WholeOrWritten:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._is_decided.wait()
        if self._stream is None:
            raise StopAsyncIteration
        return await anext(self._stream)

    async def cancel(self) -> None:
        self._is_decided.set()
        if self._stream is not None:
            await self._stream.cancel()


class WrittenSpeech:
    """The clauses of one reply on a stream of `engine`. A broken stream is opened again unless the caller has heard part of a clause."""

    def __init__(self, engine: TextToSpeech, *, speaker: str | None = None, speed: float | None = None) -> None:
        self._engine = engine
        self._speaker = speaker
        self._speed = speed
        self._clauses: list[str] = []
        self._n_said = 0
        """Clauses whose sound is complete."""
        self._is_ended = False
        self._has_more = asyncio.Event()
        self._stream: SynthesisStream | None = None

    @property
    def is_ended(self) -> bool:
        """No more clauses are accepted."""
        return self._is_ended

    def say(self, clause: str) -> None:
        """Add the next clause, to be spoken as soon as possible."""
        self._clauses.append(clause)
        self._has_more.set()
        if self._stream is not None:
            _push(self._stream, clause)

    def end(self) -> None:
        """No more clauses follow. May be called twice."""
        if self._is_ended:
            return
        self._is_ended = True
        self._has_more.set()
        if self._stream is not None:
            self._stream.end_text()

    async def sound(self) -> AsyncGenerator[tuple[int, SpeechChunk], None]:
        """Chunks, each with the number of its clause. Raises ProviderError. Closing this cancels the rest."""
        has_failed = False
        while True:
            while self._n_said == len(self._clauses):
                if self._is_ended:
                    return
                self._has_more.clear()
                await self._has_more.wait()
            first, has_begun = self._n_said, False
            try:
                async with aclosing(self._stretch()) as chunks:
                    async for number, chunk in chunks:
                        has_begun = number == self._n_said and (has_begun or bool(chunk.pcm))
                        yield number, chunk
            except ProviderError as error:
                is_owed = self._n_said < len(self._clauses)
                if is_owed and (has_begun or (has_failed and self._n_said == first) or not error.retryable):
                    raise
                has_failed = is_owed
                logger.warning("speech goes on with a new stream", extra={"provider": self._engine.name, "reason": error.reason})

    async def _stretch(self) -> AsyncGenerator[tuple[int, SpeechChunk], None]:
        """The sound of one stream: all clauses not spoken yet, and those that come."""
        stream = self._engine.open(speaker=self._speaker, speed=self._speed)
        for clause in self._clauses[self._n_said :]:
            _push(stream, clause)
        if self._is_ended:
            stream.end_text()
        self._stream = stream
        try:
            async for chunk in stream:
                number = min(self._n_said, len(self._clauses) - 1)
                if chunk.ends_flush:
                    self._n_said = min(self._n_said + 1, len(self._clauses))
                yield number, chunk
            self._n_said = len(self._clauses)
        finally:
            self._stream = None
            await stream.cancel()


def _push(stream: SynthesisStream, clause: str) -> None:
    stream.push_text(clause.rstrip() + " ")
    stream.flush()
