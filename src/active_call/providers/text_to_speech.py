"""The interface of synthesis engines: text enters, s16le mono leaves in chunks, with word times if the vendor reports them.

A stream speaks with one voice. Text is pushed in pieces of any length; `flush` and `end_text` ask for the sound of what was pushed. An
adapter raises ConfigError for settings that it cannot use, raises ProviderError from the iteration for every later failure, and never
blocks the loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from msgspec import Struct


class WordTime(Struct, frozen=True):
    """A spoken word. Times are ms from the start of the stream's sound."""

    text: str
    start_ms: float
    end_ms: float


class SpeechChunk(Struct, frozen=True):
    """A piece of sound (s16le mono, whole samples) and the words that the vendor reported with it; either may be empty."""

    pcm: bytes
    words: tuple[WordTime, ...] = ()
    is_substitute: bool = False
    """Another engine than the requested one spoke this. It is played but not cached."""
    ends_flush: bool = False
    """This chunk completes the sound of the oldest flushed text that was not complete yet."""


class SynthesisStream(Protocol):
    """One synthesis. Iterate over it for the chunks; the iteration ends with the last sound after `end_text`."""

    def push_text(self, text: str) -> None:
        """More text. The engine may wait for the end of a sentence before it speaks."""
        ...

    def flush(self) -> None:
        """Speak what was pushed so far without waiting for more."""
        ...

    def end_text(self) -> None:
        """No more text follows. Implies `flush`."""
        ...

    def __aiter__(self) -> AsyncIterator[SpeechChunk]: ...

    async def __anext__(self) -> SpeechChunk: ...

    async def cancel(self) -> None:
        """Cancel and free everything; also called after the end. Called from the task that iterates."""
        ...


class TextToSpeechCapabilities(Struct, frozen=True):
    """What an engine can do. `speakers` are the names of its voices; empty: the vendor's list is not known here."""

    rate_hz: int
    """The rate of its sound."""
    streaming_text: bool = False
    """It accepts text that is pushed and flushed while it is being written, and speaks each clause at once with continuous prosody."""
    word_times: bool = False
    speakers: tuple[str, ...] = ()
    emotions: bool = False
    """It speaks with the emotion that `tts.emotion` names."""


class TextToSpeech(Protocol):
    """A configured synthesis engine."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> TextToSpeechCapabilities: ...

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> SynthesisStream:
        """Begin to speak with that voice, or with the option's. `speed` 1.0 is normal. A connection is made in the background."""
        ...

    async def close(self) -> None: ...


async def speech_of(
    engine: TextToSpeech, text: str, *, speaker: str | None = None, speed: float | None = None
) -> AsyncGenerator[SpeechChunk, None]:
    """The sound of one whole text. Closing the generator cancels the rest. Raises ProviderError."""
    stream = engine.open(speaker=speaker, speed=speed)
    try:
        stream.push_text(text)
        stream.end_text()
        async for chunk in stream:
            if chunk.pcm or chunk.words:
                yield chunk
    finally:
        await stream.cancel()
