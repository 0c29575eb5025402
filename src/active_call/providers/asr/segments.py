"""Recognition by a vendor that listens all the time: its segments become the finals of the call's utterances.

Sound and the voice detector's starts and ends enter; the adapter reports the vendor's messages (`note_…`); one `Final` for each end
leaves. At an end the vendor is asked to finish (`ask_final`). The utterance is answered when the vendor confirms, or after `answer_s` with
the text received so far. A segment belongs to the utterance that contains its middle. Text between utterances is dropped. Vendors count
the sound they received; `to_sample` translates that to the call's sample numbers. Knows no vendor.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.providers.speech_to_text import Failed, Final, Partial, RecognitionEvent, TurnChange, TurnEvent, Word

LEAD_SAMPLES = samples_in(500, LISTEN_RATE_HZ)
TAIL_SAMPLES = samples_in(500, LISTEN_RATE_HZ)
"""How far a segment may lie outside an utterance: voice detectors and vendors differ on soft onsets and endings."""
ANSWER_S = 1.5
MAX_SEGMENTS = 1_000
"""The most segments kept, for a vendor that never ends an utterance."""
MAX_JUMPS = 10_000


class Segment(Struct, frozen=True):
    """A stretch of the caller's speech as the vendor reports it. `start_sample` and `end_sample` None: the vendor reports no times."""

    text: str
    start_sample: int | None = None
    end_sample: int | None = None
    confidence: float | None = None
    words: tuple[Word, ...] = ()

    @property
    def middle(self) -> float | None:
        if self.start_sample is None or self.end_sample is None:
            return None
        return (self.start_sample + self.end_sample) / 2


@dataclass(slots=True)
class Utterance:
    """An utterance without an answer; `end_sample` is None while the caller speaks."""

    index: int
    start_sample: int
    end_sample: int | None = None
    timer: asyncio.TimerHandle | None = None

    def holds(self, segment: Segment) -> bool:
        """Whether the segment lies in it, as far as known."""
        middle = segment.middle
        if middle is None:
            return True
        is_early = self.end_sample is None or middle < self.end_sample + TAIL_SAMPLES
        return is_early and middle > self.start_sample - LEAD_SAMPLES


class SegmentedRecognition:
    """The base of such a `RecognitionStream`. The adapter implements `send_audio`, `ask_final` and `disconnect`, and calls the `note_`
    methods.

    `acknowledges`: the vendor confirms when it has finished as asked (`note_finished`). Otherwise the first final segment after the end
    counts as confirmation.
    """

    acknowledges = True
    answer_s = ANSWER_S

    def __init__(self, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._utterances: list[Utterance] = []
        self._asked: deque[tuple[int, float]] = deque()
        """The utterances whose end was sent to the vendor and not confirmed yet, in order, with the time it was sent."""
        self._segments: list[Segment] = []
        self._interim: Segment | None = None
        self._sent = 0
        self._next_sample: int | None = None
        """The call's sample that follows the sent sound."""
        self._jumps: list[tuple[int, int]] = []
        """Where the sent sound restarts: the number of samples sent before, and the call's sample at that point."""
        self._is_over = False

    # -- what the adapter does

    def send_audio(self, pcm: bytes) -> None:
        """Send sound (16 kHz) to the vendor, or keep it until there is a connection."""
        raise NotImplementedError

    def ask_final(self) -> None:
        """Ask the vendor to finish what it received so far. The default does nothing: the vendor finishes by itself."""

    async def disconnect(self) -> None:
        """Close the connection and free everything."""

    # -- what the adapter reports

    def note_interim(self, segment: Segment) -> None:
        """The vendor's current text of this segment; replaces the previous one."""
        if self._is_of_cancelled(segment):
            return
        self._interim = segment
        self._report_partial()

    def note_final(self, segment: Segment) -> None:
        """A segment is final, no longer interim."""
        self._interim = None
        if self._is_of_cancelled(segment):
            return
        if segment.text.strip():
            self._segments = [*self._segments, segment][-MAX_SEGMENTS:]
        ended = next((utterance for utterance in self._utterances if utterance.end_sample is not None), None)
        if not self.acknowledges and ended is not None:
            self._settle(ended.index)
        elif segment.text.strip():
            self._report_partial()

    def note_finished(self) -> None:
        """The vendor has finished the oldest request to finish."""
        while self._asked and self._asked[0][1] < self._loop.time() - 2 * self.answer_s:
            self._asked.popleft()  # that one was never confirmed
        if self._asked:
            self._settle(self._asked.popleft()[0])

    def note_turn(self, change: TurnChange, sample: int, *, text: str = "", confidence: float | None = None) -> None:
        """A report of the vendor's own turn detector."""
        self._report(TurnEvent(change, sample, text, confidence))

    def fail(self, error: ActiveCallError) -> None:
        """The connection is lost or cannot be made: no more events follow."""
        if not self._is_over:
            self._report(Failed(error))
            self._end()

    def to_sample(self, sent_samples: float) -> int:
        """The call's sample number for the vendor's sample `sent_samples`."""
        position = bisect_right(self._jumps, sent_samples, key=lambda jump: jump[0]) - 1
        if position < 0:
            return round(sent_samples)
        before, sample = self._jumps[position]
        return round(sample + sent_samples - before)

    # -- RecognitionStream

    def push_audio(self, pcm: bytes, sample: int) -> None:
        if self._is_over:
            return
        if sample != self._next_sample:
            self._jumps = [*self._jumps, (self._sent, sample)][-MAX_JUMPS:]
        n_samples = len(pcm) // BYTES_PER_SAMPLE
        self._sent += n_samples
        self._next_sample = sample + n_samples
        self.send_audio(pcm)

    def start_utterance(self, index: int, sample: int) -> None:
        self._utterances.append(Utterance(index, sample))

    def end_utterance(self, index: int, sample: int) -> None:
        utterance = self._find(index)
        if utterance is None:
            utterance = Utterance(index, sample)
            self._utterances.append(utterance)
        if self._is_over:
            return
        utterance.end_sample = sample
        utterance.timer = self._loop.call_later(self.answer_s, self._handle_late, index)
        self._asked.append((index, self._loop.time()))
        self.ask_final()

    def cancel_utterance(self, index: int) -> None:
        utterance = self._find(index)
        if utterance is not None:
            self._interim = None
            self._take_segments(utterance)
            self._forget(utterance)

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Does nothing; an adapter that can use phrases overrides this."""

    async def close(self) -> None:
        self._end()
        await self.disconnect()

    # -- utterances

    def _handle_late(self, index: int) -> None:
        """The vendor has not confirmed in time."""
        self._settle(index)

    def _settle(self, index: int) -> None:
        """Answer that utterance, after all that ended earlier: finals come in order."""
        if self._find(index) is None:
            return
        for utterance in list(self._utterances):
            if utterance.end_sample is not None:
                self._answer(utterance)
            if utterance.index == index:
                return

    def _answer(self, utterance: Utterance) -> None:
        """End `utterance` with the text received so far."""
        if self._is_over:
            return
        segments = self._take_segments(utterance)
        if self._interim is not None and utterance.holds(self._interim):
            segments.append(self._interim)
            self._interim = None
        self._forget(utterance)
        end_sample = utterance.end_sample if utterance.end_sample is not None else utterance.start_sample
        self._report(
            Final(_text_of(segments), utterance.index, utterance.start_sample, end_sample, _confidence_of(segments), _words_of(segments))
        )

    def _report_partial(self) -> None:
        """Send the text so far of the next utterance."""
        utterance = next(iter(self._utterances), None)
        if utterance is None or self._is_over:
            return
        segments = [segment for segment in self._segments if utterance.holds(segment)]
        if self._interim is not None and utterance.holds(self._interim):
            segments.append(self._interim)
        if segments:
            start_sample = utterance.start_sample
            end_sample = max(segment.end_sample or start_sample for segment in segments)
            self._report(
                Partial(_text_of(segments), utterance.index, start_sample, end_sample, _confidence_of(segments), _words_of(segments))
            )

    def _take_segments(self, utterance: Utterance) -> list[Segment]:
        """Its segments, removed from the list; earlier ones are dropped."""
        taken = [segment for segment in self._segments if utterance.holds(segment)]
        end = utterance.end_sample if utterance.end_sample is not None else utterance.start_sample
        self._segments = [
            segment for segment in self._segments if not utterance.holds(segment) and segment.middle is not None and segment.middle >= end
        ]
        return taken

    def _is_of_cancelled(self, segment: Segment) -> bool:
        """Whether this is a segment without times that comes while the vendor finishes a cancelled utterance."""
        return segment.middle is None and bool(self._asked) and self._find(self._asked[0][0]) is None

    def _find(self, index: int) -> Utterance | None:
        return next((utterance for utterance in self._utterances if utterance.index == index), None)

    def _forget(self, utterance: Utterance) -> None:
        self._utterances.remove(utterance)
        if utterance.timer is not None:
            utterance.timer.cancel()

    def _report(self, event: RecognitionEvent) -> None:
        if not self._is_over:
            self._on_event(event)

    def _end(self) -> None:
        self._is_over = True
        for utterance in self._utterances:
            if utterance.timer is not None:
                utterance.timer.cancel()


def _text_of(segments: Sequence[Segment]) -> str:
    return " ".join(text for segment in segments if (text := segment.text.strip()))


def _confidence_of(segments: Sequence[Segment]) -> float | None:
    """The mean, weighted by the length of the texts."""
    weights = [(len(segment.text), segment.confidence) for segment in segments if segment.confidence is not None]
    total = sum(weight for weight, _ in weights)
    return sum(weight * value for weight, value in weights) / total if total else None


def _words_of(segments: Sequence[Segment]) -> tuple[Word, ...]:
    return tuple(word for segment in segments for word in segment.words)
