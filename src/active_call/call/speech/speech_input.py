"""The caller's side of the conversation: voice detection and sound enter, `speaking`, `silence`, `eou`, `asrDelta`, `asrFinal` leave.

An utterance begins with detected speech. It ends when silence has lasted `end_of_turn_ms` beyond the last voiced packet; speech that
resumes within that time continues the utterance. Sample numbers count the caller's 16 kHz sound from the start of the stream.

During a hold, a transfer or a bridge speech input is suspended (`parties.attention` says when): the media process neither detects voice
nor forwards sound, and the current utterance is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import Struct

from active_call.agent.effects import FinalForAgent
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.turn_audio import TurnAudio
from active_call.contract import events
from active_call.media.link.messages import CallerAudio, SpeechEnded, SpeechStarted
from active_call.media.pool.pool import MediaStream
from active_call.providers.base import Failed, Final, Recognised, RecognitionEvent, RecognitionStream, SpeechToText, TurnEvent
from active_call.providers.speech_to_text import TakesOverlaps

TAIL_S = 0.25
"""The recogniser gets this much sound after the last voiced packet: a detector misses faint last syllables more often than a decoder."""
MAX_UTTERANCE_S = 30.0
"""Speech without a pause is cut here and continues as the next utterance, so that music on a line does not make an endless one."""


def open_recognition(
    engine: SpeechToText,
    on_result: Callable[[Recognised], None],
    on_failure: Callable[[Exception], None],
    *,
    language: str | None,
    on_turn: Callable[[TurnEvent], None] | None = None,
) -> RecognitionStream:
    """Recognise one caller: each kind of event goes to its own callback. Raises ActiveCallError."""

    def tell(event: RecognitionEvent) -> None:
        match event:
            case Recognised():
                on_result(event)
            case Failed(error):
                on_failure(error)
            case TurnEvent():
                if on_turn is not None:
                    on_turn(event)

    return engine.open(tell, language=language)


PAUSE_COVERED_S = 1.2
"""Utterances with longer pauses are recognised with all the sound between; see `only_speech` of `link.Listen`."""


class VadSettings(Struct, frozen=True):
    """Voice activity detection in the media process: which probability counts as speech, and how long speech and silence must last."""

    threshold: float = 0.5
    min_speech_ms: int = 64
    silence_ms: int = 100
    pauses: bool = False
    """How the sound of pauses is reported, for a turn detector."""


@dataclass(slots=True)
class _Utterance:
    index: int
    start_sample: int
    end_sample: int = 0
    last_voiced_at: float = 0.0
    started_at: float = 0.0
    closing_at: float | None = None
    """When it ends if nothing more is said; None while the caller speaks."""


class SpeechInput:
    """Follows the caller's speech. `emit` takes contract events; `to_epoch_ms` turns monotonic seconds into event times."""

    def __init__(
        self,
        *,
        emit: Callable[[events.Event], None],
        to_epoch_ms: Callable[[float], int],
        turn: TurnClock,
        end_of_turn_ms: int,
        turn_audio: TurnAudio | None = None,
    ) -> None:
        self._turn_audio = turn_audio
        self._emit = emit
        self._to_epoch_ms = to_epoch_ms
        self._turn = turn
        self._end_of_turn_s = end_of_turn_ms / 1000
        self._recognition: RecognitionStream | None = None
        self._utterance: _Utterance | None = None
        self._n_utterances = 0
        self._anchor = (0, 0.0)
        """A sample of the caller's sound, and its arrival time (monotonic seconds): that of the newest utterance's beginning."""
        self._newest = (0, 0)
        """First and last sample of the utterance that ended last."""
        self._awaiting: set[int] = set()
        self._phrases: tuple[str, ...] = ()
        self._stream: MediaStream | None = None
        self._vad = VadSettings()
        self._is_suspended = False
        self._is_tapped = False
        self._hears_between = True
        self._listener: Callable[[bytes], None] | None = None
        """Gets the caller's sound while recognition is not suspended: a realtime model."""

    @property
    def is_suspended(self) -> bool:
        """Whether input is suspended."""
        return self._is_suspended

    def listen_to(self, stream: MediaStream, vad: VadSettings) -> None:
        """Listen to the caller on `stream` from now on."""
        self._stream, self._vad = stream, vad
        self._order()

    def suspend(self) -> None:
        """Stop listening until `resume`. May be called again."""
        if self._is_suspended:
            return
        self._is_suspended = True
        if self._utterance is not None:
            if self._recognition is not None:
                self._recognition.cancel_utterance(self._utterance.index)
            self._utterance = None
        self._order()

    def resume(self) -> None:
        """Listen again. Does nothing if input is not suspended."""
        if self._is_suspended:
            self._is_suspended = False
            self._order()

    def hear_between_speech(self, wanted: bool) -> None:
        """Whether the recogniser also needs the sound between utterances."""
        if wanted != self._hears_between:
            self._hears_between = wanted
            self._order()

    def forward_always(self, wanted: bool) -> None:
        """Forward the caller's sound even without recognition, because there is another listener."""
        if wanted != self._is_tapped:
            self._is_tapped = wanted
            self._order()

    def send_sound_to(self, listener: Callable[[bytes], None] | None) -> None:
        """Also pass the caller's sound (s16le mono at 16 kHz) to a realtime model while input is not suspended; None: stop."""
        before, self._listener = self._listener, listener
        if (before is None) is not (listener is None):
            self._order()

    def _order(self) -> None:
        if self._stream is not None:
            vad, is_on = self._vad, not self._is_suspended
            is_heard = self._recognition is not None or self._listener is not None
            is_forwarded = (is_on and is_heard) or self._is_tapped
            self._stream.listen(
                detect=is_on,
                forward_audio=is_forwarded,
                threshold=vad.threshold,
                min_speech_ms=vad.min_speech_ms,
                silence_ms=vad.silence_ms,
                pauses=is_on and vad.pauses,
                only_speech=is_on and is_forwarded and not self._needs_all_sound,
            )

    @property
    def _needs_all_sound(self) -> bool:
        has_judge = self._turn_audio is not None and self._turn_audio.is_used
        is_patient = self._end_of_turn_s > PAUSE_COVERED_S
        return self._hears_between or self._is_tapped or self._listener is not None or has_judge or is_patient

    @property
    def is_busy(self) -> bool:
        """Whether the caller speaks, or a result is still to come."""
        return self._utterance is not None or bool(self._awaiting)

    def set_end_of_turn(self, end_of_turn_ms: int) -> None:
        """End utterances after this much silence from now on."""
        before, self._end_of_turn_s = self._needs_all_sound, end_of_turn_ms / 1000
        if self._needs_all_sound is not before:
            self._order()

    def use(self, recognition: RecognitionStream | None) -> None:
        """Recognise with this from now on; None: no recognition."""
        self._recognition = recognition

    async def replace(self, recognition: RecognitionStream | None) -> None:
        """As `use`, and close the previous stream. Its unanswered utterances get no result."""
        before, self._recognition = self._recognition, recognition
        self._utterance = None
        self._awaiting.clear()
        if recognition is not None:
            recognition.expect_phrases(self._phrases)
        if (before is None) is not (recognition is None):
            self._order()
        if before is not None:
            await before.close()

    def expect_phrases(self, phrases: tuple[str, ...]) -> None:
        """The phrases that the caller is expected to say; a later recogniser gets them too."""
        self._phrases = phrases
        if self._recognition is not None:
            self._recognition.expect_phrases(phrases)

    def note_overlap(self, is_over_agent: bool) -> None:
        """Whether the caller speaks over the agent's paused reply."""
        recognition: object = self._recognition
        if isinstance(recognition, TakesOverlaps):
            recognition.note_overlap(is_over_agent)

    async def close(self) -> None:
        """Close the recogniser's stream."""
        recognition, self._recognition, self._listener = self._recognition, None, None
        if recognition is not None:
            await recognition.close()

    # -- reports of the media stream

    def audio(self, report: CallerAudio) -> None:
        """More of the caller's sound. Must be cheap: it is called many times a second for each call."""
        if self._is_suspended:
            return
        if self._recognition is not None:
            self._recognition.push_audio(report.pcm, report.sample)
        if self._listener is not None:
            self._listener(report.pcm)
        if self._turn_audio is not None:
            self._turn_audio.push(report)

    def speech_started(self, report: SpeechStarted) -> None:
        """The voice detector reports speech: an utterance begins, or continues."""
        if self._is_suspended:
            return
        self._emit(events.Speaking(start_time=self._to_epoch_ms(report.at), confidence=round(report.confidence, 3)))
        if self._turn_audio is not None:
            self._turn_audio.speech_began(report.sample)
        if self._utterance is not None:
            self._utterance.closing_at = None
            return
        self._begin(report.sample, report.at)

    def speech_ended(self, report: SpeechEnded) -> None:
        """The voice detector reports silence: the utterance ends when that lasts."""
        if self._is_suspended:
            return
        self._emit(events.Silence(start_time=self._to_epoch_ms(report.at), duration=report.duration_ms))
        self._turn.caller_stopped(report.at)
        if self._turn_audio is not None:
            self._turn_audio.speech_ended(report.sample)
        if self._utterance is not None:
            self._utterance.end_sample = report.sample
            self._utterance.last_voiced_at = report.at
            self._utterance.closing_at = report.at + self._end_of_turn_s

    # -- time

    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due, in monotonic seconds; None outside an utterance."""
        if self._utterance is None:
            return None
        if self._utterance.closing_at is None:
            return self._utterance.started_at + MAX_UTTERANCE_S
        return self._utterance.closing_at

    def handle_timeout(self, now: float) -> None:
        """End the utterance if its silence has lasted long enough, or cut one that is too long."""
        due = self.next_timeout()
        if due is None or now < due or self._utterance is None:
            return
        utterance, self._utterance = self._utterance, None
        if utterance.closing_at is None:
            self._roll_over(utterance, now)
            return
        utterance.end_sample += int(min(TAIL_S, now - utterance.last_voiced_at) * LISTEN_RATE_HZ)
        self._turn.mark("closed_at", now)
        self._emit(events.Eou(completed=True))
        self._end(utterance)

    def _roll_over(self, utterance: _Utterance, now: float) -> None:
        """The caller still speaks: end this utterance and begin the next one at the same sample."""
        utterance.end_sample = utterance.start_sample + int((now - utterance.started_at) * LISTEN_RATE_HZ)
        self._emit(events.Eou(completed=False))
        self._end(utterance)
        self._begin(utterance.end_sample, now)

    def _begin(self, sample: int, at: float) -> None:
        self._anchor = (sample, at)
        self._n_utterances += 1
        self._utterance = _Utterance(self._n_utterances, sample, started_at=at)
        if self._recognition is not None:
            self._recognition.start_utterance(self._utterance.index, sample)

    def _end(self, utterance: _Utterance) -> None:
        self._newest = (utterance.start_sample, utterance.end_sample)
        if self._recognition is not None:
            self._awaiting.add(utterance.index)
            self._recognition.end_utterance(utterance.index, utterance.end_sample)

    def end_now(self, now: float) -> None:
        """The caller's turn has probably ended: end the utterance if its silence has begun. Otherwise do nothing."""
        if self._utterance is not None and self._utterance.closing_at is not None and not self.is_suspended:
            self._utterance.closing_at = min(self._utterance.closing_at, now)
            self.handle_timeout(now)

    # -- results of the recogniser

    def recognised(self, result: Recognised, now: float) -> None:
        """The recogniser's partial or final text becomes `asrDelta` or `asrFinal`."""
        if isinstance(result, Final):
            self._end_waiting(result, now)
            return
        self._emit(
            events.AsrDelta(
                index=result.index,
                text=result.text,
                start_time=self._epoch_of(result.start_sample),
                end_time=self._epoch_of(result.end_sample),
                confidence=result.confidence,
            )
        )

    def _end_waiting(self, result: Final, now: float, *, is_lost: bool = False) -> None:
        """An utterance has its result. `is_lost`: the recogniser failed to answer it."""
        self._awaiting.discard(result.index)
        self._turn.mark("recognised_at", now)
        make = events.AsrFinal if result.whole is None and result.alternatives is None else _for_agent(result)
        self._emit(
            make(
                index=result.index,
                text=result.text,
                start_time=self._epoch_of(result.start_sample),
                end_time=self._epoch_of(result.end_sample),
                confidence=result.confidence,
                is_lost=is_lost or None,
            )
        )

    def failed(self, error: Exception, now: float) -> None:
        """The recogniser failed, or was overloaded: the oldest utterance awaiting a result is lost, with whatever was said."""
        self._emit(events.Error(sender="asr", error=str(error)))
        if self._awaiting:
            self._end_waiting(Final("", min(self._awaiting), *self._newest), now, is_lost=True)

    def _epoch_of(self, sample: int) -> int:
        """The arrival time of a sample of the caller's sound, in ms since 1970."""
        known, at = self._anchor
        return self._to_epoch_ms(at + (sample - known) / LISTEN_RATE_HZ)


def _for_agent(result: Final) -> Callable[..., FinalForAgent]:
    whole = result.whole
    first, text = (None, "") if whole is None else (whole.first_index, whole.text)
    return partial(FinalForAgent, whole_from=first, whole_text=text, alternatives=result.alternatives)
