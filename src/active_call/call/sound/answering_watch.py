"""Reports who has answered an outbound call, and carries out the option `onMachine`.

The call's own events and the tones of its stream enter; `answerMachineDetection` events leave, and the end of the call or a message after
the beep. `agent/answering` classifies the facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from active_call.agent.answering.classifier import SURE, AnsweringClassifier, Fact, SpeechBegan, SpeechEnded, Tone, Verdict, Words
from active_call.call.call_time import CallTime
from active_call.call.ports import CallPorts, HangUp
from active_call.call.shared_state import CallState
from active_call.contract import commands, events
from active_call.media.link.messages import ToneReported

CAUSE: Final = "answerMachine"
OPERATOR_KEY: Final = "0"
"""The key that reaches a person in most menus that do not mention one."""
NO_BEEP_S: Final = 4.0
"""Silence after a mailbox's greeting, after which the message is left even without a beep."""
SETTLING_S: Final = 0.3
"""From the end of the beep to the message: mailboxes start recording slightly later."""
LONGEST_WAIT_S: Final = 60.0
"""The wait for a beep, from the verdict on. A longer greeting is not going to end."""
SETTLED_MS: Final = 15_000
"""From the last words that are certainly human: after that nothing is classified. Call screening hands over to a mailbox sooner."""
_FOR_AGENT: Final = {
    "screening": "A phone's call screening answers. Say in one short sentence who is calling and why, then wait for a person.",
    "menu": "A telephone menu answers. Choose the key that serves the task and send it as digits; say nothing.",
    "hold": "The callee's side plays hold music or asks to hold. Say nothing until a person speaks.",
}


class AnsweringWatch:
    """The watch of one call. It is active if the call is outbound and `onMachine` is given."""

    def __init__(
        self,
        state: CallState,
        ports: CallPorts,
        time: CallTime,
        hang_up: HangUp,
        end_agent: Callable[[], None],
        perform: Callable[[Any], None],
    ) -> None:
        self._state = state
        self._ports = ports
        self._time = time
        self._hang_up = hang_up
        self._end_agent = end_agent
        self._perform = perform
        self._classifier = AnsweringClassifier()
        self._is_speaking = False
        self._is_done = False
        self._has_asked_operator = False
        self._message_at: float | None = None
        """When the message is left unless something else happens."""
        self._gives_up_at: float | None = None

    @property
    def is_watching(self) -> bool:
        """The call wants to know who answered it."""
        return self._state.option.on_machine is not None and not self._state.is_inbound

    def observe(self, event: events.Event) -> None:
        """An event of the call. Actions follow through the mailbox, after the event was sent to all receivers."""
        fact = None if event.refer or not self.is_watching else _fact_of(event)
        if fact is not None and self._state.facts.answered_at is not None:
            self._ports.later(lambda: self._handle(fact))

    def heard(self, tone: ToneReported) -> None:
        """A tone was detected."""
        if self.is_watching and self._state.facts.answered_at is not None:
            self._handle(Tone(self._time.to_epoch_ms(tone.at), tone.kind, tone.duration_ms))

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        due_ms = None if self._is_done or not self.is_watching else self._classifier.next_timeout_ms()
        if due_ms is None and self._message_at is None and self._gives_up_at is None:
            return None
        times = [self._message_at, self._gives_up_at]
        if due_ms is not None:
            now = self._ports.now()
            times.append(now + (due_ms + 1 - self._time.to_epoch_ms(now)) / 1000)
        return min((at for at in times if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Handle timers that are due."""
        if self._message_at is not None and now >= self._message_at:
            self._leave_message()
        elif self._gives_up_at is not None and now >= self._gives_up_at:
            self._end("no beep came")
        elif not self._is_done and self.is_watching:
            self._told(self._classifier.handle_timeout(self._time.to_epoch_ms(now)))

    # -- what was detected

    def _handle(self, fact: Fact) -> None:
        if self._is_done or self._is_settled(fact):
            return
        if isinstance(fact, SpeechBegan | SpeechEnded):
            self._is_speaking = isinstance(fact, SpeechBegan)
            if self._gives_up_at is not None:
                self._message_at = None if self._is_speaking else self._ports.now() + NO_BEEP_S
        self._told(self._classifier.handle(fact))
        if isinstance(fact, Tone) and fact.kind == "beep" and self._gives_up_at is not None:
            self._message_at = self._ports.now() + SETTLING_S

    def _is_settled(self, fact: Fact) -> bool:
        """A person was there for a while, so later mention of mailboxes or tones does not count as a machine."""
        verdict = self._classifier.verdict
        is_person = verdict is not None and verdict.kind == "human" and verdict.confidence >= SURE
        self._is_done = verdict is not None and is_person and fact.at_ms - verdict.end_ms >= SETTLED_MS
        return self._is_done

    def _told(self, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        self._ports.emit(
            events.AnswerMachineDetection(
                start_time=verdict.start_ms, end_time=verdict.end_ms, text=verdict.text, kind=verdict.kind, confidence=verdict.confidence
            )
        )
        self._report_agent(verdict)
        if verdict.kind == "menu" and verdict.n_repeats:
            self._leave_menu_loop()
        if self._is_done or not verdict.is_sure_machine or self._state.option.on_machine == "continue":
            return
        if self._state.option.on_machine == "message-after-beep" and verdict.kind == "voicemail" and self._state.option.machine_message:
            self._await_beep()
        else:
            self._end(verdict.kind)

    def _report_agent(self, verdict: Verdict) -> None:
        """Advice for the model about a menu, screening or hold music, as data."""
        text = _FOR_AGENT.get(verdict.kind)
        if text is None:
            return
        if verdict.n_repeats:
            heard = f"The same menu is heard again ({verdict.n_repeats + 1} times)"
            text = f"{heard}: the last choice led nowhere. Choose another key, or hang up."
        self._ports.emit(events.Custom(data=text, sender="answering"))

    # -- actions for a machine

    def _leave_menu_loop(self) -> None:
        """The same menu again: its choices lead nowhere."""
        match self._state.option.on_menu_loop:
            case "operator" if not self._has_asked_operator:
                self._has_asked_operator = True
                self._perform(commands.Dtmf(digits=OPERATOR_KEY))
            case "operator" | "hangup":
                self._end("the menu goes in circles")
            case _:
                pass  # the model is informed

    def _await_beep(self) -> None:
        """The agent leaves; the message comes after the beep, or after a silence."""
        if self._gives_up_at is not None:
            return
        now = self._ports.now()
        self._gives_up_at = now + LONGEST_WAIT_S
        self._message_at = None if self._is_speaking else now + NO_BEEP_S
        self._end_agent()

    def _leave_message(self) -> None:
        self._is_done = True
        self._message_at = self._gives_up_at = None
        self._perform(commands.Tts(text=self._state.option.machine_message or "", play_id="machine-message", auto_hangup=True))

    def _end(self, why: str) -> None:
        self._is_done = True
        self._message_at = self._gives_up_at = None
        self._hang_up(by="system", cause=CAUSE, reason=why)


def _fact_of(event: events.Event) -> Fact | None:
    match event:
        case events.Speaking():
            return SpeechBegan(event.start_time or event.timestamp)
        case events.Silence():
            return SpeechEnded(event.start_time or event.timestamp)
        case events.AsrDelta() | events.AsrFinal():
            return Words(event.timestamp, event.index, event.text, isinstance(event, events.AsrFinal))
        case _:
            return None
