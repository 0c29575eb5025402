"""The turns of a realtime conversation: the caller's turn, the model's response, pending tools, and silence.

In: events of the model's session about turns and responses. Out: orders to the session, the state of the conversation, the timers MODEL,
FLOOR, FOLLOWUP and QUIET. The model decides when the caller's turn is over, and then answers without a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from active_call.agent.effects import EmitEvent, ToolAnswered, ToolFinished
from active_call.agent.items import SystemItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.realtime.dead_air import RealtimeDeadAir
from active_call.agent.realtime.events import CancelResponse, CreateResponse, FunctionCall
from active_call.agent.realtime.playback import RealtimePlayback
from active_call.agent.realtime.session import Session
from active_call.agent.realtime.voice_pause import RealtimeVoicePause
from active_call.agent.reply.model_answers import MAX_TOOL_ROUNDS
from active_call.agent.reply.outcome import ReplyOutcome
from active_call.agent.reply.tags import Tag
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import events

ANSWER_PATIENCE_S = 10.0
"""Timeout for opening the session and for the first sound of a response."""
CALLER_MAX_S = 30.0
"""Timeout of a caller's turn whose end the model does not report."""
QUIET_S = 60.0
"""Without a follow-up, the interval in which the agent checks whether something is left to do."""
TALKING = (State.LISTENING, State.THINKING, State.SPEAKING)
"""States in which the caller and the agent talk."""


class RealtimeTurns:
    """The turns of one conversation."""

    def __init__(
        self,
        context: PlaybookContext,
        phase: Phase,
        timers: Timers,
        outbox: Outbox,
        session: Session,
        playback: RealtimePlayback,
        rules: Interruptions,
    ) -> None:
        self._is_answering = False
        """The model is working on a response."""
        self._is_cancelling = False
        """A response was cancelled and its ResponseDone has not arrived: further sound belongs to it."""
        self._is_answer_due = False
        """Ask the model for a response when the caller is silent and nothing plays."""
        self._is_caller_speaking = False
        self._n_followups = 0
        self._n_rounds = 0
        """Answers to tools since the caller spoke."""
        self._actions: deque[Tag] = deque()
        """Actions of the model that wait until its words were heard. The caller's speech discards them."""
        self.act: Callable[[Tag, float], bool] = lambda action, now: False
        """Executes an action. True if the conversation continues without another step here."""
        self._outcome = ReplyOutcome(outbox)
        self.pause = RealtimeVoicePause(rules, playback, timers, outbox)
        self._dead_air = RealtimeDeadAir(context, timers, outbox)
        self._context = context
        self._phase = phase
        self._timers = timers
        self._outbox = outbox
        self._session = session
        self._playback = playback
        self._rules = rules

    @property
    def _is_talking(self) -> bool:
        return self._phase.state in TALKING

    # -- the caller

    def caller_began(self, now: float) -> None:
        """The caller speaks: stop the playback, unless it cannot be interrupted."""
        if not self._is_talking or (self._rules.is_off and self._playback.is_sounding):
            return
        self._is_caller_speaking = True
        self._n_followups = self._n_rounds = 0
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET, Timer.MODEL)
        self.interrupt(now)
        self._timers.set(Timer.FLOOR, now + CALLER_MAX_S)

    def caller_ended(self, now: float) -> None:
        """The caller's turn is over: the model answers, with all results that have arrived."""
        if not self._is_caller_speaking:
            return
        self._is_caller_speaking = self._is_answer_due = False
        self._timers.clear(Timer.FLOOR)
        if self._is_talking:
            self._is_answering = True
            self._await_answer(now)

    def caller_timed_out(self, now: float) -> None:
        """The model has not reported the end of the caller's turn."""
        self._is_caller_speaking = False
        self.go_on(now)

    def interrupt(self, now: float) -> None:
        """The caller takes the turn, by voice or by a key."""
        self._session.interrupt_tools()
        self._actions.clear()
        self._outcome.interrupted()
        self.stop(now)
        self._phase.fire(Signal.CUT)

    def stop(self, now: float) -> None:
        """Stop the playback and the current response."""
        if self._is_answering:
            self._session.order(CancelResponse())
            self._is_cancelling = self._session.is_open
        self._is_answering = False
        self._dead_air.over()
        self._playback.stop(now)
        self.pause.end()

    def caller_left(self) -> None:
        """The caller is on hold or connected to somebody else."""
        self.pause.end()
        self._dead_air.over()
        self._timers.clear_all()
        self._is_caller_speaking = False

    # -- the model's response

    def add_sound(self, item: str, ms: int, now: float) -> None:
        """More sound of an item."""
        if self._is_cancelling:
            self._playback.drop(item)
            return
        self._is_answering = True
        if self._playback.add_sound(item, ms) and self._is_talking:
            self._outcome.begin()
            self._dead_air.over()
            self._phase.fire(Signal.SAY)
            self._timers.clear(Timer.MODEL, Timer.FOLLOWUP, Timer.QUIET)
            self._playback.watch(now)

    def response_done(self, error: str, now: float) -> None:
        """The response is complete, was cancelled, or failed."""
        if self._is_cancelling:
            self._is_cancelling = False
            return
        self._is_answering = False
        if error:
            self._outbox.note("model failed", error=error)
            self._outbox.put(EmitEvent(events.Error(sender="realtime", error=error)))
        if not self._playback.is_sounding:
            self.go_on(now)

    def playback_over(self, now: float) -> None:
        """The playing item was heard to its end."""
        self._outcome.heard()
        if self._is_talking and self._is_answering:
            self._await_answer(now)
        else:
            self.go_on(now)

    def playback_lost(self, now: float) -> None:
        """The end of the playing item was not reported in time."""
        self._playback.lose()
        self._is_answering = False
        self.go_on(now)

    def answer_late(self, now: float) -> None:
        """No sound and no result has arrived in time."""
        self._outbox.note("model failed", error="no answer in time")
        self._is_answering = self._is_cancelling = False
        self._dead_air.failed()
        if self._session.waits_for_tools:
            self._session.give_up_tools()
            self._is_answer_due = True
        self.go_on(now)

    # -- tools

    def call_tool(self, event: FunctionCall) -> None:
        """The model calls a tool."""
        started = self._session.call_tool(event)
        if started is None:
            self._is_answer_due = True
        elif started.action is not None:
            self._actions.append(started.action)
            self._is_answer_due = self._is_answer_due or started.tool.is_answered

    def tool_finished(self, item: ToolFinished | ToolAnswered, now: float) -> None:
        """A tool result: the model speaks about it when nothing plays and the caller is silent."""
        if not self._session.tool_finished(item):
            return
        self._is_answer_due = True
        if not self._session.waits_for_tools and not self._is_answering and not self._playback.is_sounding:
            self.go_on(now)

    def on_dead_air(self, now: float) -> None:
        """The dead-air timer has expired."""
        if self._is_talking and not self._playback.is_sounding:
            self._dead_air.on_due(now, "tool" if self._session.waits_for_tools else "model")

    # -- asking and waiting

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model to speak."""
        if hint:
            self._session.tell(SystemItem(hint))
        self._is_answer_due = not self._session.is_open
        self._is_answering = self._session.is_open
        self._session.order(CreateResponse())
        self._await_answer(now)

    def ask_later(self) -> None:
        """Ask the model to speak as soon as possible."""
        self._is_answer_due = True

    def resume(self, now: float) -> None:
        """The hold is over: continue what was under way."""
        self._playback.settle(0)
        if self._playback.is_sounding:
            self._phase.fire(Signal.SAY)
            self._playback.watch(now)
        elif self._is_answering:
            self._await_answer(now)
        else:
            self.go_on(now)

    def go_on(self, now: float) -> None:
        """Nothing plays and no response is expected: wait for tools, ask for the due response, or listen."""
        if not self._is_talking or self._is_caller_speaking:
            return
        while self._actions and not (self._is_answering or self._playback.is_sounding):
            if self.act(self._actions.popleft(), now):
                return
        if self._session.waits_for_tools:
            self._await_answer(now)
        elif self._is_answer_due and self._n_rounds < MAX_TOOL_ROUNDS:
            self._n_rounds += 1
            self.ask(now)
        else:
            if self._is_answer_due:
                self._is_answer_due = False
                self._outbox.note("model failed", error="the model calls tools again and again, without a word of the caller")
            self._timers.clear(Timer.MODEL)
            self._phase.fire(Signal.DONE)
            self._dead_air.over()
            self._outcome.done()
            self.await_caller(now)

    def stopped_by_command(self, now: float) -> None:
        """A client of the call has stopped the playback."""
        self.stop(now)
        self._outcome.interrupted()
        self._phase.fire(Signal.CUT)
        self.await_caller(now)

    def await_caller(self, now: float) -> None:
        """Start the timers of the caller's silence."""
        found = self._context.followup()
        if found is not None and self._n_followups < found[1]:
            self._timers.set(Timer.FOLLOWUP, now + found[0])
        else:
            self._timers.set(Timer.QUIET, now + QUIET_S)

    def follow_up(self, now: float) -> None:
        """The caller has been silent for too long: send a follow-up."""
        self._n_followups += 1
        self.ask(now, self._context.wording.silent)

    def _await_answer(self, now: float) -> None:
        self._outcome.begin()
        self._dead_air.waiting(now)
        self._phase.fire(Signal.ASK)
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self._timers.set(Timer.MODEL, now + max(ANSWER_PATIENCE_S, self._session.tool_patience_s))
