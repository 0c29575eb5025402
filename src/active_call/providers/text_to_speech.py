"""The interface of synthesis engines: text enters, s16le mono leaves in chunks, with the times of words where the vendor tells them.

A stream speaks with one voice. Text is pushed in pieces of any length; `flush` and `end_text` ask for the sound of what was pushed. An
adapter raises ConfigError for settings that it cannot use, ProviderError from the iteration for everything that goes wrong later, and never
blocks the loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WordTime:
    """A spoken word. Times are ms from the start of the stream's sound."""

    text: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of sound (s16le mono, whole samples) and the words that the vendor reported with it; either may be empty."""

    pcm: bytes
    words: tuple[WordTime, ...] = ()
    is_substitute: bool = False
    """Another engine than the one that was asked for spoke this: it is heard, and not kept in a cache."""
    ends_flush: bool = False
    """With this, all sound has come of the oldest text that was flushed and not ended yet."""


class SynthesisStream(Protocol):
    """Speech in the making. Iterate over it for the chunks; the iteration ends with the last sound after `end_text`."""

    def push_text(self, text: str) -> None:
        """More text. The engine may wait for the end of a sentence before it speaks."""
        ...

    def flush(self) -> None:
        """Speak what was pushed so far, without waiting for more."""
        ...

    def end_text(self) -> None:
        """No more text comes; as `flush`."""
        ...

    def __aiter__(self) -> AsyncIterator[SpeechChunk]: ...

    async def __anext__(self) -> SpeechChunk: ...

    async def cancel(self) -> None:
        """Abandon the rest and free everything, also after the end. The task that iterates calls it."""
        ...


@dataclass(frozen=True, slots=True)
class TextToSpeechCapabilities:
    """What an engine can do. `speakers` are the names of its voices; empty: the vendor's list is not known here."""

    rate_hz: int
    """The rate of its sound."""
    streaming_text: bool = False
    """Text may be pushed and flushed while it is written: each clause is spoken at once, in one breath with what came before."""
    word_times: bool = False
    speakers: tuple[str, ...] = ()
    emotions: bool = False
    """It speaks in the mood that `tts.emotion` names."""


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
    """The sound of one whole text. Closing the generator abandons the rest. Raises ProviderError."""
    stream = engine.open(speaker=speaker, speed=speed)
    try:
        stream.push_text(text)
        stream.end_text()
        async for chunk in stream:
            if chunk.pcm or chunk.words:
                yield chunk
    finally:
        await stream.cancel()
