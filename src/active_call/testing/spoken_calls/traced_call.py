"""A call whose caller is a trace: the call's own speech input and conversation, without sound, models and waiting.

In: a `TurnTrace`, a conversation. Out: its effects, each at its time. The parts are those of a call (`SpeechInput` and the conversation);
the recogniser and the media process are read out of the trace, so that a turn takes some milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import AgentEffect, AgentInput, EndUtterance, Heard, JudgeTurn, Paused, TurnJudged
from active_call.call.conversation.turn_taking import pause_sound
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_input import SpeechInput
from active_call.contract import events
from active_call.media.link.messages import SpeechEnded, SpeechStarted
from active_call.providers.speech_to_text import Final, Partial, Recognised
from active_call.testing.spoken_calls.turn_trace import HeardFrom, Report, TurnTrace

_EPOCH_S = 100.0
"""The beginning of the line, in event time: 0 would mean that a time is not known."""
JUDGE_S = 0.1
"""How long a model of the sound takes."""
LINGER_S = 5.0
"""The call goes on for so long after the last report."""


class TracedCall:
    """One call. `on_effect` gets what the conversation wants done, but for what the trace answers; `on_speech`: the caller begins to speak.

    `end_of_turn_ms`: the call's own timer of utterances.
    """

    def __init__(
        self,
        trace: TurnTrace,
        conversation: CascadeConversation,
        on_effect: Callable[[AgentEffect], None],
        *,
        end_of_turn_ms: int,
        starts_at: float = 0.0,
        on_speech: Callable[[], None] = lambda: None,
    ) -> None:
        self._trace = trace
        self._conversation = conversation
        self._on_effect, self._on_speech = on_effect, on_speech
        self.now = starts_at
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._input = SpeechInput(
            emit=self._emit, to_epoch_ms=lambda at: round((at + _EPOCH_S) * 1000), turn=TurnClock(), end_of_turn_ms=end_of_turn_ms
        )
        self._input.use(_TracedRecognition(trace, self.do_at, lambda: self.now, self._recognised))  # type: ignore[arg-type]
        self.texts: list[str] = []
        """The final texts so far."""

    def run(self, is_over: Callable[[], bool]) -> None:
        """Let time pass until `is_over`, or until the trace is over and whoever waits has waited."""
        self._carry_out(self._conversation.start(self.now))
        self.give(Heard(events.MediaReady()))
        for at, report in self._trace.reports:
            self.do_at(at, lambda report=report: self._report(report))  # type: ignore[misc]
        end = (self._trace.reports[-1][0] if self._trace.reports else self._trace.ended) + LINGER_S
        while (due := self._next_at()) is not None and due <= end and not is_over():
            self.now = max(self.now, due)
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            self._input.handle_timeout(self.now)
            self._carry_out(self._conversation.handle_timeout(self.now))

    def do_at(self, at: float, do: Callable[[], None]) -> None:
        """Do something at its time."""
        heapq.heappush(self._queue, (at, next(self._order), do))

    def give(self, item: AgentInput) -> None:
        """Let the conversation take an input now."""
        self._carry_out(self._conversation.handle(item, self.now))

    def _next_at(self) -> float | None:
        times = [self._queue[0][0] if self._queue else None, self._conversation.next_timeout(), self._input.next_timeout()]
        return min((at for at in times if at is not None), default=None)

    def _report(self, report: Report) -> None:
        match report:
            case SpeechStarted():
                self._input.speech_started(report)
                self.do_at(self.now, self._on_speech)
            case SpeechEnded():
                self._input.speech_ended(report)
            case _:
                self.give(Paused(pause_sound(report, self.now)))

    def _recognised(self, result: Recognised) -> None:
        if isinstance(result, Final):
            self.texts.append(result.text)
        self._input.recognised(result, self.now)

    def _emit(self, event: events.Event) -> None:
        """Tell the conversation, which hears it when the speech input has done, as from the mailbox of a call."""
        told = msgspec.structs.replace(event, timestamp=round((self.now + _EPOCH_S) * 1000))
        self.do_at(self.now, lambda: self.give(Heard(told)))

    def _carry_out(self, effects: Sequence[AgentEffect]) -> None:
        for effect in effects:
            match effect:
                case EndUtterance():
                    self._input.end_now(self.now)
                case JudgeTurn(question):
                    self._judge(question)
                case _:
                    self._on_effect(effect)

    def _judge(self, question: int) -> None:
        number = sum(1 for at, report in self._trace.reports if at <= self.now and isinstance(report, SpeechEnded)) - 1
        if (probability := self._trace.judged.get(number)) is not None:
            self.do_at(self.now + JUDGE_S, lambda: self.give(TurnJudged(question, probability)))


class _TracedRecognition:
    """A recogniser's stream that tells what stands in the trace."""

    def __init__(
        self,
        trace: TurnTrace,
        do_at: Callable[[float, Callable[[], None]], None],
        now: Callable[[], float],
        tell: Callable[[Recognised], None],
    ) -> None:
        self._trace = trace
        self._do_at, self._now, self._emit = do_at, now, tell
        self._samples = [start.sample for start in trace.starts()]
        self._open: dict[int, int] = {}
        """The utterances that are open, each with its first stretch of speech."""

    def start_utterance(self, index: int, sample: int) -> None:
        first = min(range(len(self._samples)), key=lambda number: abs(self._samples[number] - sample))
        self._open[index] = first
        for at, text, confidence in self._heard(first).partials:
            self._do_at(at, lambda text=text, confidence=confidence: self._emit_partial(index, text, confidence))  # type: ignore[misc]

    def end_utterance(self, index: int, sample: int) -> None:
        first = self._open.pop(index)
        last = max((number for number, end in enumerate(self._trace.ends()) if end.sample <= sample), default=first)
        heard, now = self._heard(first), self._now()
        whole = heard.whole_at(now)
        text, confidence, latency = (*whole, 0.0) if whole is not None else heard.finals.get(last, ("", 0.0, 0.0))
        final = Final(text, index, 0, 0, confidence, alternatives=heard.alternatives.get(text))
        self._do_at(now + latency, lambda: self._emit(final))

    def cancel_utterance(self, index: int) -> None:
        self._open.pop(index, None)

    def push_audio(self, pcm: bytes, sample: int) -> None:
        """Nothing: the sound was heard when the trace was made."""

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Nothing."""

    def _heard(self, first: int) -> HeardFrom:
        return self._trace.heard[first] if first < len(self._trace.heard) else HeardFrom()

    def _emit_partial(self, index: int, text: str, confidence: float) -> None:
        if index in self._open:
            self._emit(Partial(text, index, 0, 0, confidence))
