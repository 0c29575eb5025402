"""Recognition engines whose streams die as the test says, and a caller that speaks to them, for virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.world import World
from active_call.providers.base import Failed, Final, RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.guarding.supervisor import SupervisedRecognition, SupervisedSpeechToText
from active_call.testing.virtual_time import VirtualClock

PIECE = 320
"""Samples in one push: 20 ms."""


def lost(name: str = "vendor", reason: str = "connection lost") -> ProviderError:
    return ProviderError(name, reason, retryable=True)


def refused(name: str = "vendor") -> ProviderError:
    return ProviderError(name, "HTTP 401: no such key")


@dataclass
class ScriptedStream:
    """Writes down what comes; answers an end after `answer_s` with the samples that it heard of the utterance, unless it is deaf."""

    engine: ScriptedEngine
    on_event: Callable[[RecognitionEvent], None]
    opened_at: float
    audio: list[tuple[int, int]] = field(default_factory=list)
    """First sample and length of each push."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    phrases: tuple[str, ...] = ()
    is_closed: bool = False
    heard: dict[int, bytes] = field(default_factory=dict)
    _sound: bytearray = field(default_factory=bytearray)
    _first: int = 0
    _starts: dict[int, int] = field(default_factory=dict)

    def push_audio(self, pcm: bytes, sample: int) -> None:
        assert not self.is_closed, "sound for a closed stream"
        if not self._sound:
            self._first = sample
        assert sample == self._first + len(self._sound) // 2, "sound with a gap, or twice"
        self._sound += pcm
        self.audio.append((sample, len(pcm) // 2))

    def start_utterance(self, index: int, sample: int) -> None:
        self.asked.append(("start", index))
        self._starts[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        self.asked.append(("end", index))
        start = self._starts.pop(index)
        pcm = bytes(self._sound[2 * (start - self._first) : 2 * (sample - self._first)])
        self.heard[index] = pcm
        if not self.engine.is_deaf:
            loop = asyncio.get_running_loop()
            loop.call_later(self.engine.answer_s + index * 1e-6, self.tell, self.engine.answer(index, start, sample))

    def cancel_utterance(self, index: int) -> None:
        self.asked.append(("cancel", index))

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self.phrases = tuple(phrases)

    def tell(self, event: RecognitionEvent) -> None:
        self.on_event(event)

    def die(self, error: ActiveCallError | None = None) -> None:
        self.tell(Failed(error or lost(self.engine.name)))

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class ScriptedEngine:
    """`failures` are raised by the next `open`s; `fails_utterances`: each end is answered with an error."""

    name: str = "vendor"
    failures: list[Exception] = field(default_factory=list)
    capabilities: SpeechToTextCapabilities = SpeechToTextCapabilities(partials=True)  # noqa: RUF009
    answer_s: float = 0.05
    is_deaf: bool = False
    fails_utterances: bool = False
    streams: list[ScriptedStream] = field(default_factory=list)
    is_closed: bool = False

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> ScriptedStream:
        if self.failures:
            raise self.failures.pop(0)
        self.streams.append(ScriptedStream(self, on_event, asyncio.get_running_loop().time()))
        return self.streams[-1]

    def answer(self, index: int, start: int, end: int) -> RecognitionEvent:
        if self.fails_utterances:
            return Failed(lost(self.name, "HTTP 500"), index)
        return Final(f"{self.name} {index}", index, start, end, 0.9)

    async def close(self) -> None:
        self.is_closed = True


class Caller:
    """Speaks into a supervised recognition, 20 ms at a time; `events` are what came out, with their times."""

    def __init__(self, *engines: ScriptedEngine) -> None:
        self._loop = asyncio.get_running_loop()
        world = World(clock=VirtualClock(self._loop))
        first, *others = [SupervisedSpeechToText(GuardedSpeechToText(engine, world)) for engine in engines]
        self.owner = SupervisedSpeechToText(first.inner, others)
        self.events: list[Any] = []
        self.times: list[float] = []
        self.sample = 0
        self.stream: SupervisedRecognition = self.owner.open(self._note, language="en")

    def _note(self, event: RecognitionEvent) -> None:
        self.events.append(event)
        self.times.append(self._loop.time())

    async def sound(self, seconds: float) -> None:
        """That much sound, in real pace. Each sample is its number, so that what a stream heard can be compared."""
        for _ in range(round(seconds * 16_000 / PIECE)):
            self.stream.push_audio(samples(self.sample, PIECE), self.sample)
            self.sample += PIECE
            await asyncio.sleep(PIECE / 16_000)

    async def says(self, index: int, seconds: float = 1.0) -> tuple[int, int]:
        """One utterance; gives its samples."""
        start = self.sample
        self.stream.start_utterance(index, start)
        await self.sound(seconds)
        self.stream.end_utterance(index, self.sample)
        return start, self.sample

    @property
    def finals(self) -> list[tuple[str, int]]:
        return [(event.text, event.index) for event in self.events if isinstance(event, Final)]

    @property
    def failures(self) -> list[int | None]:
        return [event.index for event in self.events if isinstance(event, Failed)]


def samples(first: int, n: int) -> bytes:
    """`n` samples whose values are their numbers."""
    return b"".join(((i % 30_000) + 1).to_bytes(2, "little") for i in range(first, first + n))
