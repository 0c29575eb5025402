"""Recognition one utterance at a time, shared by engines that do not segment by themselves.

Sound (16 kHz) and the voice detector's starts and ends enter. Each end starts one transcription of the cut-out sound; its result leaves
by the callback, in the order of the utterances. Past sound is kept in a ring, because a start lies in the past when it is reported.
Knows no engine: it is given the transcribing function.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.onset import MAX_LEAD_SAMPLES, speech_from
from active_call.providers.asr.sound_ring import SoundRing
from active_call.providers.speech_to_text import Alternative, Failed, Final, RecognitionEvent, Whole, Word

logger = logging.getLogger(__name__)

LEAD_SAMPLES = samples_in(250, LISTEN_RATE_HZ)
"""Sound kept before the detected start: a detector is late for soft onsets (`f`, `h`). `onset` keeps more where it is later."""
TAIL_SAMPLES = samples_in(150, LISTEN_RATE_HZ)
"""Sound kept after the end, as far as it has arrived; the transcription does not wait for it."""
RING_SAMPLES = samples_in(3_000, LISTEN_RATE_HZ)
"""Sound kept during silence."""
MAX_WAIT_S = 3.0
"""An utterance whose recognition has not begun this long after its end is dropped: the agent no longer waits, and the caller repeats it."""
MIN_UTTERANCE_SAMPLES = samples_in(120, LISTEN_RATE_HZ)
"""Shorter speech holds no word, and models invent one."""


class Utterance(Struct, frozen=True):
    """A cut-out stretch of speech: `pcm` (s16le, 16 kHz) includes the lead and the tail; the samples mark the speech itself."""

    index: int
    start_sample: int
    end_sample: int
    pcm: bytes
    first_sample: int = 0
    """The sample at which `pcm` begins."""


class TimedWord(Struct, frozen=True):
    """A word and its position in the transcribed sound, in seconds."""

    text: str
    start_s: float
    end_s: float


class Transcript(Struct, frozen=True):
    """An engine's text of an utterance; empty if there is none."""

    text: str
    confidence: float | None = None
    words: tuple[TimedWord, ...] = ()
    whole: Whole | None = None
    """The text together with that of earlier utterances."""
    is_clear: bool | None = None
    """Whether a more thorough search would find the same words; None if the engine does not say."""
    alternatives: tuple[Alternative, ...] | None = None
    """See `Final.alternatives`."""

    def words_from(self, first_sample: int) -> tuple[Word, ...]:
        """The words with sample numbers, for sound that began at `first_sample`."""
        return tuple(Word(word.text, _sample(first_sample, word.start_s), _sample(first_sample, word.end_s)) for word in self.words)


Transcribe = Callable[[Utterance], Awaitable[Transcript]]


async def _closed(_: Utterance) -> Transcript:
    """Takes the place of the transcribing function after the end, because that may belong to the recognition itself."""
    return Transcript("")


class UtteranceRecognition:
    """`base.RecognitionStream` over a function that transcribes one utterance.

    `least_s`: the shortest utterance that the vendor bills.
    """

    least_s = 0.0

    def __init__(self, transcribe: Transcribe, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._transcribe = transcribe
        self._on_event = on_event
        self._ring = SoundRing(RING_SAMPLES)
        self._open: dict[int, int] = {}
        self._ended_to = 0
        """The end of the last utterance."""
        self._ended: deque[Utterance] = deque()
        self._current: Utterance | None = None
        self._arrived = asyncio.Event()
        self._closed = False
        self.sent_s = 0.0
        """Transcribed sound in seconds; an utterance counts at least `least_s`."""
        self._loop = asyncio.get_running_loop()
        self._worker: asyncio.Task[None] | None = self._loop.create_task(self._work(), name="utterance recognition")

    def push_audio(self, pcm: bytes, sample: int) -> None:
        keep_from = min(self._open.values()) - MAX_LEAD_SAMPLES if self._open else None
        self._ring.push(pcm, sample, keep_from=keep_from)

    def start_utterance(self, index: int, sample: int) -> None:
        self._open[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        start = self._open.pop(index, sample)
        first = self._first_of(start)
        pcm = self._ring.cut(first, sample + TAIL_SAMPLES)
        self._ended_to = sample
        self._ended.append(Utterance(index, start, sample, pcm, first))
        self._arrived.set()

    def cancel_utterance(self, index: int) -> None:
        self._open.pop(index, None)
        self._ended = deque(utterance for utterance in self._ended if utterance.index != index)
        if self._current is not None and self._current.index == index:
            self._current = None

    def _first_of(self, start: int) -> int:
        """The first sample of the utterance whose speech was reported from `start` on."""
        return speech_from(self._ring, start, LEAD_SAMPLES, self._ended_to)

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Does nothing; an adapter that can use phrases overrides this."""

    async def close(self) -> None:
        self._closed = True
        self._open.clear()
        self._ended.clear()
        worker, self._worker = self._worker, None
        if worker is not None:  # the exception of a cancelled task refers to this object
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            self._transcribe = _closed

    async def _work(self) -> None:
        """Transcribe one utterance after the other. Callbacks are scheduled on the loop, so that an error in one does not end this task."""
        while True:
            while not self._ended:
                self._arrived.clear()
                await self._arrived.wait()
            utterance = self._current = self._ended.popleft()
            try:
                transcript = await self._recognise(utterance)
            except ActiveCallError as error:
                self._deliver(utterance, Failed(error, utterance.index))
            except Exception as error:  # an engine outside the provider wall; the next utterance may work
                logger.exception("utterance could not be transcribed")
                unforeseen = ProviderError("asr", f"unforeseen {type(error).__name__}: {error}")
                self._deliver(utterance, Failed(unforeseen, utterance.index))
            else:
                self._deliver(utterance, _final(utterance, transcript))
            self._current = None

    async def _recognise(self, utterance: Utterance) -> Transcript:
        if utterance.end_sample - utterance.start_sample < MIN_UTTERANCE_SAMPLES or not any(utterance.pcm):
            return Transcript("")
        self.sent_s += max(self.least_s, len(utterance.pcm) / BYTES_PER_SAMPLE / LISTEN_RATE_HZ)
        return await self._transcribe(utterance)

    def _deliver(self, utterance: Utterance, event: RecognitionEvent) -> None:
        if self._current is utterance:
            self._loop.call_soon(self._report, event)

    def _report(self, event: RecognitionEvent) -> None:
        if not self._closed:
            self._on_event(event)


def _final(utterance: Utterance, transcript: Transcript) -> Final:
    words = transcript.words_from(utterance.first_sample)
    return Final(
        transcript.text,
        utterance.index,
        utterance.start_sample,
        utterance.end_sample,
        transcript.confidence,
        words,
        transcript.whole,
        transcript.alternatives,
    )


def _sample(first_sample: int, at_s: float) -> int:
    return max(0, first_sample + round(at_s * LISTEN_RATE_HZ))
