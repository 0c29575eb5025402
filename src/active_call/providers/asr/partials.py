"""A `RecognitionStream` with partial texts, over an engine that transcribes a stretch of sound.

`asr.utterances` gives the final texts. While an utterance is open, `partial_timing` says when to transcribe its sound so far, one at a
time and as a background request, which the engine may refuse: a partial text never delays another caller's final. A partial text that
covers the whole utterance (made in the pause before the end) becomes the final text at once, unless it is doubtful.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.expected_phrases import is_phrase
from active_call.providers.asr.partial_timing import PartialTiming
from active_call.providers.asr.short_replies import alternatives_of, rivals_of
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.speech_to_text import Alternative, Partial, RecognitionEvent, Whole

logger = logging.getLogger(__name__)

MAX_PAUSE_SAMPLES = samples_in(1_200, LISTEN_RATE_HZ)
"""Speech after a longer pause is a new sentence."""
MAX_BEFORE_SAMPLES = samples_in(6_000, LISTEN_RATE_HZ)
"""The longest sound that is recognised together with an utterance."""


RATE_WAIT_S = 0.3
"""A final text waits no longer for its alternatives: on a busy machine it has none."""

TranscribeSound = Callable[[bytes, bool, tuple[str, ...]], Awaitable[Transcript]]
"""Arguments: the sound (s16le, 16 kHz), whether it is a background request, the expected phrases. Raises ActiveCallError, also if it
refuses.
"""

TranscribeAgain = Callable[[bytes, tuple[str, ...]], Awaitable[Transcript]]
"""Recognises sound whose text is doubtful more thoroughly: the sound and the expected phrases. Raises ActiveCallError."""

Draft = Callable[[bytes, tuple[str, ...]], Awaitable[Transcript]]
"""Recognises sound in the middle of speech, as a background request, with less effort: the sound and the expected phrases."""


Rate = Callable[[bytes, tuple[str, ...]], Awaitable[tuple[float, ...]]]
"""The natural log of the probability of each text in the sound, as a background request. Raises ActiveCallError."""


class _Said(Struct, frozen=True):
    """Recognised speech: its sound from `first_sample` on, the end of the speech in it, the utterance with which it begins, its text."""

    pcm: bytes
    first_sample: int
    end_sample: int
    first_index: int
    text: str
    confidence: float
    is_sure: bool
    """Each utterance in it was, or all together."""


@dataclass(slots=True)
class _Open:
    """An utterance that has not ended."""

    start_sample: int
    timing: PartialTiming
    wanted_to: int = 0
    """The sample up to which a text is due."""
    computing_to: int = 0
    """The sample up to which a text is being computed."""
    is_draft: bool = False
    """That text, or `latest` if there is none, is a draft."""
    done_to: int = 0
    """The sample up to which `latest` was computed."""
    latest: Transcript | None = None
    work: asyncio.Task[None] | None = None

    @property
    def is_computing_whole(self) -> bool:
        """Whether the text of the whole utterance is being computed, and only silence followed."""
        is_running = self.work is not None and not self.work.done()
        return is_running and self.timing.is_silent_since and self.computing_to == self.wanted_to and not self.is_draft

    @property
    def whole(self) -> Transcript | None:
        """The text of the whole utterance, if it was computed before the end and only silence followed."""
        is_complete = self.timing.is_silent_since and self.done_to == self.wanted_to and not self.is_draft
        return self.latest if is_complete else None


class PartialRecognition(UtteranceRecognition):
    """One caller. A partial text that is not clear, or below `sure_confidence` if the engine does not say, does not become the final:
    `transcribe_again` recognises the utterance. `draft` makes the partial texts while the caller speaks; without it `transcribe` does. With
    `rate` short doubtful finals of speech over the agent have alternatives.
    """

    def __init__(
        self,
        transcribe: TranscribeSound,
        on_event: Callable[[RecognitionEvent], None],
        *,
        sure_confidence: float = 0.0,
        transcribe_again: TranscribeAgain | None = None,
        draft: Draft | None = None,
        rate: Rate | None = None,
    ) -> None:
        super().__init__(self._transcribe_utterance, on_event)
        self._sure_confidence = sure_confidence
        self._transcribe_again = transcribe_again or (lambda pcm, phrases: transcribe(pcm, False, phrases))
        self._draft = draft
        self._rate = rate
        self._is_over_agent = False
        self._said: _Said | None = None
        self._transcribe_sound = transcribe
        self._utterances: dict[int, _Open] = {}
        self._ready: dict[int, Transcript] = {}
        """Final texts that were computed before the end came."""
        self._nearly_ready: dict[int, _Open] = {}
        """Ended utterances whose text was being computed when the end came."""
        self._phrases: tuple[str, ...] = ()

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Pass the phrases to the engine from now on."""
        self._phrases = tuple(phrases)

    def note_overlap(self, is_over_agent: bool) -> None:
        """See `speech_to_text.TakesOverlaps`."""
        self._is_over_agent = is_over_agent

    def push_audio(self, pcm: bytes, sample: int) -> None:
        super().push_audio(pcm, sample)
        end = sample + len(pcm) // BYTES_PER_SAMPLE
        for index, utterance in self._utterances.items():
            if utterance.timing.take(pcm, end):
                utterance.wanted_to = end
                if utterance.work is None or utterance.work.done():
                    utterance.work = self._loop.create_task(self._forecast(index, utterance), name="partial text")

    def start_utterance(self, index: int, sample: int) -> None:
        super().start_utterance(index, sample)
        if not self._closed:
            self._utterances[index] = _Open(sample, PartialTiming(sample))

    def end_utterance(self, index: int, sample: int) -> None:
        utterance = self._utterances.get(index)
        if utterance is not None and utterance.is_computing_whole:
            self._nearly_ready[index] = self._utterances.pop(index)
        elif utterance is not None and (whole := utterance.whole) is not None:
            self._ready[index] = whole
        self._forget(index)
        super().end_utterance(index, sample)

    def cancel_utterance(self, index: int) -> None:
        self._forget(index)
        self._ready.pop(index, None)
        self._cancel(self._nearly_ready.pop(index, None))
        super().cancel_utterance(index)

    def whole_text(self, index: int) -> Transcript | None:
        """The text of an open utterance as if it ended now, if it is known already."""
        utterance = self._utterances.get(index)
        return utterance.whole if utterance is not None else None

    async def close(self) -> None:
        utterances = [*self._utterances.values(), *self._nearly_ready.values()]
        work = [utterance.work for utterance in utterances if utterance.work is not None]
        for utterance in utterances:
            self._cancel(utterance)
        self._utterances.clear()
        self._nearly_ready.clear()
        await asyncio.gather(*work, return_exceptions=True)
        await super().close()

    def _forget(self, index: int) -> None:
        self._cancel(self._utterances.pop(index, None))

    @staticmethod
    def _cancel(utterance: _Open | None) -> None:
        if utterance is not None and utterance.work is not None:
            utterance.work.cancel()

    async def _take_ready(self, index: int) -> Transcript | None:
        """The text that was computed before the end, or was being computed then; None if there is none."""
        utterance = self._nearly_ready.get(index)
        if utterance is None or utterance.work is None:
            return self._ready.pop(index, None)
        await asyncio.wait([utterance.work])
        is_cancelled = self._nearly_ready.pop(index, None) is None
        return Transcript("") if is_cancelled else utterance.whole

    async def _transcribe_utterance(self, utterance: Utterance) -> Transcript:
        ready = await self._take_ready(utterance.index)
        is_final = ready is not None and (self._is_sure(ready) if ready.is_clear is None else ready.is_clear)
        transcript = ready if ready is not None else await self._transcribe_sound(utterance.pcm, False, self._phrases)
        before = self._continued_by(utterance)
        together = await self._together(before, utterance, transcript) if before is not None else None
        if together is None and not is_final and ready is not None:
            transcript = await self._transcribe_again(utterance.pcm, self._phrases)
        self._said = together or self._joined(before, utterance, transcript)
        transcript = replace(transcript, alternatives=await self._alternatives(utterance.pcm, transcript))
        return transcript if together is None else replace(transcript, whole=Whole(together.first_index, together.text))

    async def _alternatives(self, pcm: bytes, heard: Transcript) -> tuple[Alternative, ...] | None:
        """The short replies that are nearly as likely as the text; None if they could not be rated."""
        if self._rate is None or not self._is_over_agent:
            return None
        rivals = rivals_of(heard.text, heard.confidence or 0.0, len(pcm) / BYTES_PER_SAMPLE / LISTEN_RATE_HZ)
        if not rivals:
            return ()
        try:
            async with asyncio.timeout(RATE_WAIT_S):
                own, *rates = await self._rate(pcm, (heard.text, *rivals))
        except (ActiveCallError, TimeoutError) as error:
            logger.debug("short replies not rated", extra={"reason": str(error)})
            return None
        return alternatives_of(own, tuple(zip(rivals, rates, strict=True)))

    def _joined(self, before: _Said | None, utterance: Utterance, own: Transcript) -> _Said:
        """Both texts one after the other."""
        confidence, is_sure = own.confidence or 0.0, self._is_sure(own)
        if before is None:
            return _Said(
                utterance.pcm, utterance.first_sample, utterance.end_sample, utterance.index, own.text, confidence, is_sure=is_sure
            )
        n_before, n_own = len(before.text), len(own.text)
        return replace(
            before,
            pcm=before.pcm + utterance.pcm,
            end_sample=utterance.end_sample,
            text=f"{before.text} {own.text}".strip(),
            confidence=(before.confidence * n_before + confidence * n_own) / (n_before + n_own),
            is_sure=before.is_sure and is_sure,
        )

    async def _together(self, before: _Said, utterance: Utterance, own: Transcript) -> _Said | None:
        """The utterance and the speech shortly before it, recognised as one. None if both were sure, this is no surer, or the caller
        has said an expected phrase.

        A piece of a sentence or of a number has too little context: "eight three" alone was "A group". A clear text of a piece may be
        wrong for the same reason ("using Parker" for "Susan Parker").
        """
        joined = self._joined(before, utterance, own)
        if joined.is_sure or not own.text or is_phrase(own.text, self._phrases):
            return None
        try:
            together = await self._transcribe_sound(joined.pcm, True, self._phrases)
        except ActiveCallError as error:
            logger.debug("not recognised together", extra={"reason": str(error)})
            return None
        confidence = together.confidence or 0.0
        if not together.text or confidence <= min(joined.confidence, self._sure_confidence):
            return None
        return replace(joined, text=together.text, confidence=confidence, is_sure=self._is_sure(together))

    def _is_sure(self, transcript: Transcript) -> bool:
        return not transcript.text or transcript.confidence is None or transcript.confidence >= self._sure_confidence

    def _continued_by(self, utterance: Utterance) -> _Said | None:
        """What was said shortly before `utterance`, with the pause between; None if there is nothing or it is too long."""
        said = self._said
        if said is None or not said.text or utterance.start_sample - said.end_sample > MAX_PAUSE_SAMPLES:
            return None
        n_samples = utterance.first_sample - said.first_sample
        kept = said.pcm[: max(0, n_samples) * BYTES_PER_SAMPLE]
        pcm = kept + self._ring.cut(said.first_sample + len(kept) // BYTES_PER_SAMPLE, utterance.first_sample)
        is_whole = len(pcm) == n_samples * BYTES_PER_SAMPLE
        return replace(said, pcm=pcm) if is_whole and 0 < n_samples <= MAX_BEFORE_SAMPLES else None

    async def _forecast(self, index: int, utterance: _Open) -> None:
        """Send partial texts until they are up to date."""
        while utterance.done_to < utterance.wanted_to:
            end = utterance.wanted_to
            first = self._first_of(utterance.start_sample)
            sound = self._ring.cut(first, end)
            draft = self._draft if not utterance.timing.is_quiet else None
            utterance.computing_to, utterance.is_draft = end, draft is not None
            try:
                if draft is not None:
                    transcript = await draft(sound, self._phrases)
                else:
                    transcript = await self._transcribe_sound(sound, True, self._phrases)
            except ActiveCallError as error:
                logger.debug("no partial text", extra={"reason": str(error)})
                return
            before, utterance.latest, utterance.done_to = utterance.latest, transcript, end
            if self._utterances.get(index) is not utterance:
                return
            if transcript.text and (before is None or transcript.text != before.text):
                words = transcript.words_from(first)
                self._report(Partial(transcript.text, index, utterance.start_sample, end, transcript.confidence, words))
