"""Recognition that survives its connections: a failed stream is opened again, or another engine's, and gets the unanswered sound.

Sound and utterances of one caller enter, events leave, as with any `SpeechToText`. The recent sound is kept. A new stream gets
the utterances without a final, with their sound; sound with a final is not sent again. `engine_choice` selects the next engine and the
delay. With a hedge, a second engine is asked beside one that is slow with an utterance, and the engine with the first final text is used
from then on. The user of this stream sees `Failed` only for an utterance that no engine could answer. Knows no vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import LISTEN_RATE_HZ, samples_in
from active_call.providers.asr.recent_sound import RecentSound
from active_call.providers.engine_choice import EngineChoice
from active_call.providers.guarding.guarded_speech_to_text import GuardedRecognition, GuardedSpeechToText
from active_call.providers.guarding.replay import Utterance, replay
from active_call.providers.speech_to_text import Failed, Final, Partial, RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.usage.metering import current_meter, metered_by

logger = logging.getLogger(__name__)

KEPT_SAMPLES = samples_in(1_000, LISTEN_RATE_HZ)
"""Sound kept while every utterance has an answer."""
MAX_KEPT_SAMPLES = samples_in(60_000, LISTEN_RATE_HZ)
"""For utterances without a final, all sound is kept up to this length."""
LEAD_SAMPLES = samples_in(500, LISTEN_RATE_HZ)
"""Sound before the first unanswered utterance that a new stream also gets: detectors are late for soft onsets."""
FAILOVER_S = 4.0
"""If there is another engine, it gets an utterance that has no answer after this long."""
WITHOUT_STREAM_S = 4.0
"""An utterance that has ended is given up if no stream could be opened for this long: its caller waits."""
CLOSE_S = 2.0


class SupervisedSpeechToText:
    """A recognition engine whose streams fail only if it and all of its `fallbacks` fail."""

    def __init__(
        self, inner: GuardedSpeechToText, fallbacks: Sequence[SupervisedSpeechToText] = (), hedge_after_s: float | None = None
    ) -> None:
        self.name = inner.name
        between = inner.capabilities.between_speech or any(fallback.capabilities.between_speech for fallback in fallbacks)
        self.capabilities: SpeechToTextCapabilities = replace(inner.capabilities, between_speech=between)
        self.inner = inner
        self.hedge_after_s = hedge_after_s
        """If an utterance has no final text after this long, the next engine is asked as well."""
        self.engines = (inner, *(fallback.inner for fallback in fallbacks))
        self._fallbacks = tuple(fallbacks)
        """A reference to the engine: an instance without references is closed."""

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> SupervisedRecognition:
        """Raises ActiveCallError if no engine can be opened, with the reason of the first one."""
        return SupervisedRecognition(self, on_event, language)

    async def warm(self) -> None:
        """Load the engine's models."""
        await self.inner.warm()

    async def close(self) -> None:
        await self.inner.close()


class SupervisedRecognition:
    """One caller. Must be created on the loop."""

    def __init__(self, owner: SupervisedSpeechToText, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        self._owner = owner
        self._engines = owner.engines
        self._on_event = on_event
        self._language = language
        self._loop = asyncio.get_running_loop()
        self._sound = RecentSound(KEPT_SAMPLES, MAX_KEPT_SAMPLES)
        self._unanswered_from: int | None = None
        """The first sample that may have to be sent again; None while every utterance has an answer."""
        self._utterances: dict[int, Utterance] = {}
        self._phrases: tuple[str, ...] | None = None
        self._stream: GuardedRecognition | None = None
        self._second: GuardedRecognition | None = None
        """The next engine's stream, beside the slow one (`hedge_after_s`): the first final text decides."""
        self._second_position = 0
        self._numbers = count(1)
        self._number = self._second_number = 0
        self._opened_at = 0.0
        self._reopening: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._hopeless: ActiveCallError | None = None
        """Why no engine is usable any more."""
        self._lost_by: ActiveCallError | None = None
        """Why there was no stream the last time."""
        self._choice = EngineChoice(len(self._engines))
        self._meter = current_meter()
        self._open_first()

    # -- from the call

    def push_audio(self, pcm: bytes, sample: int) -> None:
        self._sound.push(pcm, sample, self._unanswered_from)
        if self._stream is not None:
            self._stream.push_audio(pcm, sample)
        if self._second is not None:
            self._second.push_audio(pcm, sample)

    def start_utterance(self, index: int, sample: int) -> None:
        self._utterances[index] = Utterance(index, sample)
        self._note_unanswered()
        for stream in self._streams:
            stream.start_utterance(index, sample)

    def end_utterance(self, index: int, sample: int) -> None:
        utterance = self._utterances.setdefault(index, Utterance(index, sample))
        utterance.end_sample = sample
        self._note_unanswered()
        if self._hopeless is not None:
            self._give_up(utterance, self._hopeless)
        elif self._stream is not None:
            self._end(self._stream, utterance, sample)
            if self._second is not None:
                self._second.end_utterance(index, sample)
        else:
            self._loop.call_later(WITHOUT_STREAM_S, self._check_stream, utterance)

    def cancel_utterance(self, index: int) -> None:
        self._utterances.pop(index, None)
        self._note_unanswered()
        for stream in self._streams:
            stream.cancel_utterance(index)

    def note_overlap(self, is_over_agent: bool) -> None:
        for stream in self._streams:
            stream.note_overlap(is_over_agent)

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(phrases)
        for stream in self._streams:
            stream.expect_phrases(self._phrases)

    async def close(self) -> None:
        self._is_closed = True
        self._utterances.clear()
        if self._reopening is not None:
            self._reopening.cancel()
        streams, self._stream, self._second = self._streams, None, None
        for stream in streams:
            await stream.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # -- from the engine

    def _handle(self, number: int, event: RecognitionEvent) -> None:
        if number == self._second_number and self._second is not None and not self._is_closed:
            self._handle_second(event)
            return
        if number != self._number or self._is_closed:
            return  # the stream was replaced
        if isinstance(event, Failed):
            self._handle_failure(event)
            return
        if isinstance(event, Final) and self._is_awaited(event.index):
            self._drop_second()
        self._choice.note_result()
        self._engine.guard.note_success()
        self._take(event)

    def _take(self, event: RecognitionEvent) -> None:
        if isinstance(event, Partial | Final):
            utterance = self._utterances.get(event.index)
            if utterance is None:
                return
            if isinstance(event, Final) and utterance.end_sample is not None:
                del self._utterances[event.index]
                self._note_unanswered()
            elif isinstance(event, Final):  # the engine's own end of an utterance: the caller may still speak
                event = Partial(event.text, event.index, event.start_sample, event.end_sample, event.confidence, event.words)
        self._on_event(event)

    def _handle_failure(self, event: Failed) -> None:
        if event.index is None:
            self._lose(event.error)
            return
        utterance = self._utterances.get(event.index)
        if utterance is None:
            return
        if self._choice.has_other and utterance.n_streams < len(self._engines):
            self._lose(event.error, leave=True)
        else:
            self._give_up(utterance, event.error)

    # -- a second stream beside a slow one

    def _is_awaited(self, index: int) -> bool:
        utterance = self._utterances.get(index)
        return utterance is not None and utterance.end_sample is not None

    def _begin_second(self, number: int, utterance: Utterance) -> None:
        """The utterance has no final text in time: send it to the next engine as well."""
        position = self._choice.next_position
        is_awaited = self._utterances.get(utterance.index) is utterance
        if not is_awaited or number != self._number or self._is_closed or self._second is not None or position is None:
            return
        engine = self._engines[position]
        if engine.guard.is_refusing:
            return
        self._second_position = position
        self._second_number = next(self._numbers)
        try:
            with metered_by(self._meter):
                second = self._second = engine.open(partial(self._handle, self._second_number), language=self._language)
        except ActiveCallError as error:
            logger.warning("second recogniser could not be asked", extra={"provider": engine.name, "reason": str(error)})
            return
        logger.info("next recogniser asked beside a slow one", extra={"provider": self._engine.name, "second": engine.name})
        self._replay(second, is_second=True)

    def _handle_second(self, event: RecognitionEvent) -> None:
        """The first final text decides; other events of the second stream are ignored."""
        if isinstance(event, Failed):
            if event.index is None or self._is_awaited(event.index):
                self._drop_second()
        elif isinstance(event, Final) and self._is_awaited(event.index):
            self._go_on_with_second("was sooner")
            self._take(event)

    def _go_on_with_second(self, why: str) -> None:
        """The second stream replaces the first for the rest of the call."""
        before, engine = self._stream, self._engine
        self._stream, self._second, self._number = self._second, None, self._second_number
        self._choice.take(self._second_position)
        self._opened_at = self._loop.time()
        logger.warning(
            "recognition goes on with the next provider", extra={"provider": engine.name, "next": self._engine.name, "reason": why}
        )
        if before is not None:
            self._close_later(before)
        for utterance in self._utterances.values():
            if utterance.end_sample is not None:
                self._watch(utterance)

    def _drop_second(self) -> None:
        second, self._second = self._second, None
        if second is not None:
            self._close_later(second)

    # -- streams

    @property
    def _streams(self) -> list[GuardedRecognition]:
        return [stream for stream in (self._stream, self._second) if stream is not None]

    @property
    def _engine(self) -> GuardedSpeechToText:
        return self._engines[self._choice.position]

    def _open_first(self) -> None:
        """Open the first engine that can be opened; one with an open circuit only if no other can. Raises ActiveCallError."""
        order = sorted(range(len(self._engines)), key=lambda position: self._engines[position].guard.is_refusing)
        errors: list[ActiveCallError] = []
        for position in order:
            self._choice.position = position
            try:
                self._open(self._engine)
            except ActiveCallError as error:
                errors.append(error)
            else:
                return
        raise errors[0]

    def _open(self, engine: GuardedSpeechToText) -> None:
        number = self._number = next(self._numbers)
        with metered_by(self._meter):  # from within the caller's own push
            stream = engine.open(partial(self._handle, number), language=self._language)
        if number == self._number:
            self._stream = stream
            self._opened_at = self._loop.time()
        else:  # it failed while it was opened
            self._close_later(stream)

    def _reopen(self) -> None:
        self._reopening = None
        try:
            self._open(self._engine)
        except ActiveCallError as error:
            self._lose(error)
            return
        if self._stream is not None:
            self._replay(self._stream)

    def _lose(self, error: ActiveCallError, *, leave: bool = False) -> None:
        """The stream in use has failed. `leave`: do not use its engine again in this call, if there is another one."""
        if self._second is not None:
            if isinstance(error, ProviderError) and error.retryable:
                self._engine.guard.note_outage()
            self._choice.fail(error, leave=True)
            self._go_on_with_second(str(error))
            return
        self._number = next(self._numbers)
        failed, had_stream = self._engine, self._stream is not None
        lived_s = self._loop.time() - self._opened_at if had_stream else 0.0
        if self._stream is not None:
            self._close_later(self._stream)
            self._stream = None
        if isinstance(error, ProviderError) and error.retryable:
            failed.guard.note_outage()
        choice = self._choice.fail(error, lived_s=lived_s, leave=leave)
        fields = {"provider": failed.name, "reason": str(error), "n_unanswered": len(self._utterances)}
        if choice is None:
            logger.error("recognition is over, no provider is usable", extra=fields)
            self._hopeless = error
            self._give_up_ended(error, 0)
            return
        logger.warning("recognition stream lost", extra={**fields, "next": self._engine.name, "delay_s": choice.delay_s})
        self._lost_by = error
        self._give_up_ended(error, len(self._engines) + 1)
        if had_stream:
            for utterance in self._utterances.values():
                if utterance.end_sample is not None:
                    self._loop.call_later(WITHOUT_STREAM_S, self._check_stream, utterance)
        self._reopening = self._loop.call_later(choice.delay_s, self._reopen)

    def _replay(self, stream: GuardedRecognition, *, is_second: bool = False) -> None:
        """Send the unanswered sound to a new stream, with the starts and ends of its utterances."""
        if self._phrases is not None:
            stream.expect_phrases(self._phrases)
        start = self._sound.end - LEAD_SAMPLES if self._unanswered_from is None else self._unanswered_from

        def end(utterance: Utterance, sample: int) -> None:
            if is_second:
                utterance.n_streams += 1
                stream.end_utterance(utterance.index, sample)
            else:
                self._end(stream, utterance, sample)

        replay(stream, self._sound, start, self._utterances.values(), end)

    # -- utterances

    def _note_unanswered(self) -> None:
        starts = [utterance.start_sample for utterance in self._utterances.values()]
        self._unanswered_from = max(0, min(starts) - LEAD_SAMPLES) if starts else None

    def _end(self, stream: GuardedRecognition, utterance: Utterance, sample: int) -> None:
        utterance.n_streams += 1
        self._watch(utterance)
        hedge_s = self._owner.hedge_after_s
        if hedge_s is not None and self._choice.has_other:
            self._loop.call_later(hedge_s, self._begin_second, self._number, utterance)
        stream.end_utterance(utterance.index, sample)

    def _watch(self, utterance: Utterance) -> None:
        """Start the time that the stream in use has for the answer."""
        patience_s = self._patience_s()
        if patience_s is not None:
            self._loop.call_later(patience_s, self._check_answered, self._number, utterance, patience_s)

    def _patience_s(self) -> float | None:
        """How long an answer may take. An engine that takes whole utterances has its own deadlines, which may be longer."""
        if self._choice.has_other:
            return FAILOVER_S
        return self._engine.guard.limits.first_result_s if self._engine.capabilities.partials else None

    def _check_answered(self, number: int, utterance: Utterance, patience_s: float) -> None:
        is_awaited = self._utterances.get(utterance.index) is utterance
        if not is_awaited or number != self._number or self._is_closed:
            return
        error = ProviderError(self._engine.name, f"no result within {patience_s:g} s", retryable=True)
        self._handle_failure(Failed(error, utterance.index if self._choice.has_other else None))

    def _check_stream(self, utterance: Utterance) -> None:
        """There was no stream some seconds ago. If there is still none, give up the utterance."""
        is_awaited = self._utterances.get(utterance.index) is utterance
        if is_awaited and self._stream is None and self._lost_by is not None and not self._is_closed:
            self._give_up(utterance, self._lost_by)

    def _give_up_ended(self, error: ActiveCallError, n_streams: int) -> None:
        """Give up the utterances whose end was sent to that many streams."""
        for utterance in list(self._utterances.values()):
            if utterance.end_sample is not None and utterance.n_streams >= n_streams:
                self._give_up(utterance, error)

    def _give_up(self, utterance: Utterance, error: ActiveCallError) -> None:
        del self._utterances[utterance.index]
        self._note_unanswered()
        self._loop.call_soon(self._report, Failed(error, utterance.index))

    def _report(self, event: RecognitionEvent) -> None:
        if not self._is_closed:
            self._on_event(event)

    def _close_later(self, stream: GuardedRecognition) -> None:
        task = self._loop.create_task(_close(stream), name="lost recognition stream")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(stream: GuardedRecognition) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await stream.close()
