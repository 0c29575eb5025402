"""Recognition utterance by utterance: what engines share that cannot listen by themselves.

Sound (16 kHz) and the voice detector's beginnings and ends enter; each end starts one transcription of the cut-out sound, and its result
leaves by the callback, in the order of the utterances. Keeps a ring of past sound, since a beginning lies back in time when it is reported.
Knows no engine: what transcribes is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.providers.base import Recognised

logger = logging.getLogger(__name__)

LEAD_SAMPLES = samples_in(250, LISTEN_RATE_HZ)
"""Sound kept before the detected beginning: a detector is late for soft onsets (`f`, `h`)."""
TAIL_SAMPLES = samples_in(150, LISTEN_RATE_HZ)
"""Sound kept after the end, as far as it has arrived; nobody waits for it."""
RING_SAMPLES = samples_in(3_000, LISTEN_RATE_HZ)
"""Sound kept while nobody speaks."""
MAX_UTTERANCE_SAMPLES = samples_in(60_000, LISTEN_RATE_HZ)
"""Of a longer utterance only the end is kept."""
MIN_UTTERANCE_SAMPLES = samples_in(120, LISTEN_RATE_HZ)
"""Shorter speech holds no word; models invent one."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A cut-out stretch of speech: `pcm` (s16le, 16 kHz) has the lead and the tail, the samples say where the speech itself lies."""

    index: int
    start_sample: int
    end_sample: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an engine made of an utterance; empty when nothing."""

    text: str
    confidence: float | None = None


Transcribe = Callable[[Utterance], Awaitable[Transcript]]


class SoundRing:
    """The recent sound of a call, addressed by sample number. Gaps are filled with silence, overlaps ignored."""

    def __init__(self, keep_samples: int) -> None:
        self._keep_samples = keep_samples
        self._data = bytearray()
        self._first = 0

    @property
    def end(self) -> int:
        """The number of the sample that comes next."""
        return self._first + len(self._data) // BYTES_PER_SAMPLE

    def push(self, pcm: bytes, sample: int, *, keep_from: int | None = None) -> None:
        """Append `pcm`, which begins at `sample`. What lies before the ring's length is forgotten, but nothing from `keep_from` on."""
        n_new = len(pcm) // BYTES_PER_SAMPLE
        gap = sample - self.end
        if not self._data or gap > self._keep_samples or gap < -self._keep_samples:
            self._data.clear()
            self._first = sample
        elif gap > 0:
            self._data += bytes(gap * BYTES_PER_SAMPLE)
        elif gap < 0:
            pcm = pcm[-gap * BYTES_PER_SAMPLE :]
        self._data += pcm[: n_new * BYTES_PER_SAMPLE]
        self._forget(keep_from)

    def cut(self, start: int, end: int) -> bytes:
        """The sound from `start` to `end`, as far as it is there."""
        first = max(0, start - self._first)
        last = max(first, end - self._first)
        return bytes(self._data[first * BYTES_PER_SAMPLE : last * BYTES_PER_SAMPLE])

    def _forget(self, keep_from: int | None) -> None:
        """Drop the past, in steps of a second so that the copying stays cheap."""
        oldest = self.end - self._keep_samples
        if keep_from is not None:
            oldest = max(min(oldest, keep_from), self.end - MAX_UTTERANCE_SAMPLES)
        if oldest - self._first >= LISTEN_RATE_HZ:
            del self._data[: (oldest - self._first) * BYTES_PER_SAMPLE]
            self._first = oldest


class UtteranceRecognition:
    """`base.Recognition` over a function that transcribes one utterance."""

    def __init__(
        self,
        transcribe: Transcribe,
        on_result: Callable[[Recognised], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._transcribe = transcribe
        self._on_result = on_result
        self._on_error = on_error
        self._ring = SoundRing(RING_SAMPLES)
        self._open: dict[int, int] = {}
        self._ended: deque[Utterance] = deque()
        self._current: Utterance | None = None
        self._arrived = asyncio.Event()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._worker = self._loop.create_task(self._work(), name="utterance recognition")

    def push_audio(self, pcm: bytes, sample: int) -> None:
        keep_from = min(self._open.values()) - LEAD_SAMPLES if self._open else None
        self._ring.push(pcm, sample, keep_from=keep_from)

    def start_utterance(self, index: int, sample: int) -> None:
        self._open[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        start = self._open.pop(index, sample)
        pcm = self._ring.cut(start - LEAD_SAMPLES, sample + TAIL_SAMPLES)
        self._ended.append(Utterance(index, start, sample, pcm))
        self._arrived.set()

    def cancel_utterance(self, index: int) -> None:
        self._open.pop(index, None)
        self._ended = deque(utterance for utterance in self._ended if utterance.index != index)
        if self._current is not None and self._current.index == index:
            self._current = None

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Nothing: an adapter that can use phrases overrides this."""

    async def close(self) -> None:
        self._closed = True
        self._open.clear()
        self._ended.clear()
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        """Transcribe one utterance after the other. Callbacks are called from the loop, so that an error in one does not end this."""
        while True:
            while not self._ended:
                self._arrived.clear()
                await self._arrived.wait()
            utterance = self._current = self._ended.popleft()
            try:
                transcript = await self._recognise(utterance)
            except ActiveCallError as error:
                self._deliver(utterance, self._on_error, error)
            except Exception as error:  # an engine outside the provider wall; the next utterance is another chance
                logger.exception("utterance could not be transcribed")
                self._deliver(utterance, self._on_error, ProviderError("asr", f"unforeseen {type(error).__name__}: {error}"))
            else:
                self._deliver(utterance, self._on_result, _recognised(utterance, transcript))
            self._current = None

    async def _recognise(self, utterance: Utterance) -> Transcript:
        if utterance.end_sample - utterance.start_sample < MIN_UTTERANCE_SAMPLES or not any(utterance.pcm):
            return Transcript("")
        return await self._transcribe(utterance)

    def _deliver(self, utterance: Utterance, callback: Callable[..., None], value: object) -> None:
        if self._current is utterance:
            self._loop.call_soon(self._call, callback, value)

    def _call(self, callback: Callable[..., None], value: object) -> None:
        if not self._closed:
            callback(value)


def _recognised(utterance: Utterance, transcript: Transcript) -> Recognised:
    return Recognised(
        text=transcript.text,
        final=True,
        index=utterance.index,
        start_sample=utterance.start_sample,
        end_sample=utterance.end_sample,
        confidence=transcript.confidence,
    )
