"""A `RecognitionStream` with partial texts, over an engine that transcribes a stretch of sound.

`asr.utterances` gives the final texts. While an utterance is open, `partial_timing` says when to transcribe its sound so far, one at a
time and as a background request, which the engine may refuse: a partial text never delays another caller's final. A partial text that
covers the whole utterance (made in the pause before the end) becomes the final text at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.providers.asr.partial_timing import PartialTiming
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.speech_to_text import Partial, RecognitionEvent

logger = logging.getLogger(__name__)

TranscribeSound = Callable[[bytes, bool, tuple[str, ...]], Awaitable[Transcript]]
"""Arguments: the sound (s16le, 16 kHz), whether it is a background request, the expected phrases. Raises ActiveCallError, also if it
refuses.
"""


@dataclass(slots=True)
class _Open:
    """An utterance that has not ended."""

    start_sample: int
    timing: PartialTiming
    wanted_to: int = 0
    """The sample up to which a text is due."""
    done_to: int = 0
    """The sample up to which `latest` was computed."""
    latest: Transcript | None = None
    work: asyncio.Task[None] | None = None

    @property
    def whole(self) -> Transcript | None:
        """The text of the whole utterance, if it was computed before the end and only silence followed."""
        return self.latest if self.timing.is_silent_since and self.done_to == self.wanted_to else None


class PartialRecognition(UtteranceRecognition):
    """One caller."""

    def __init__(self, transcribe: TranscribeSound, on_event: Callable[[RecognitionEvent], None]) -> None:
        super().__init__(self._transcribe_utterance, on_event)
        self._transcribe_sound = transcribe
        self._utterances: dict[int, _Open] = {}
        self._ready: dict[int, Transcript] = {}
        """Final texts that were computed before the end came."""
        self._phrases: tuple[str, ...] = ()

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Pass the phrases to the engine from now on."""
        self._phrases = tuple(phrases)

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
        utterance = self._forget(index)
        if utterance is not None and (whole := utterance.whole) is not None:
            self._ready[index] = whole
        super().end_utterance(index, sample)

    def cancel_utterance(self, index: int) -> None:
        self._forget(index)
        self._ready.pop(index, None)
        super().cancel_utterance(index)

    def whole_text(self, index: int) -> Transcript | None:
        """The text of an open utterance as if it ended now, if it is known already."""
        utterance = self._utterances.get(index)
        return utterance.whole if utterance is not None else None

    async def close(self) -> None:
        work = [utterance.work for utterance in self._utterances.values() if utterance.work is not None]
        for index in list(self._utterances):
            self._forget(index)
        await asyncio.gather(*work, return_exceptions=True)
        await super().close()

    def _forget(self, index: int) -> _Open | None:
        utterance = self._utterances.pop(index, None)
        if utterance is not None and utterance.work is not None:
            utterance.work.cancel()
        return utterance

    async def _transcribe_utterance(self, utterance: Utterance) -> Transcript:
        ready = self._ready.pop(utterance.index, None)
        return ready if ready is not None else await self._transcribe_sound(utterance.pcm, False, self._phrases)

    async def _forecast(self, index: int, utterance: _Open) -> None:
        """Send partial texts until they are up to date."""
        while utterance.done_to < utterance.wanted_to:
            end = utterance.wanted_to
            first = self._first_of(utterance.start_sample)
            sound = self._ring.cut(first, end)
            try:
                transcript = await self._transcribe_sound(sound, True, self._phrases)
            except ActiveCallError as error:
                logger.debug("no partial text", extra={"reason": str(error)})
                return
            if self._utterances.get(index) is not utterance:
                return
            before, utterance.latest, utterance.done_to = utterance.latest, transcript, end
            if transcript.text and (before is None or transcript.text != before.text):
                words = transcript.words_from(first)
                self._report(Partial(transcript.text, index, utterance.start_sample, end, transcript.confidence, words))
