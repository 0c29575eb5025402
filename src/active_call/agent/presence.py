"""Whether the caller is connected to the agent: on hold, transferred or bridged, and back.

In: hold, transfer and bridge events of the call. Out: while the caller is away, the agent stops and keeps what was said. When the caller is
back, the agent continues what was under way (after a hold) or speaks first (after a transfer or a bridge). The first event of a transfer
takes the caller away, whoever requested it; the last one, with `returned`, brings the caller back. The call itself pauses the playback
during a hold. The agent sends no command for that, so that none of its commands can outlive the hold.
"""

from __future__ import annotations

from typing import assert_never

from active_call.agent.absence import CallerLeaves, CallerReturns, absence_by_bridge, absence_by_transfer
from active_call.agent.items import SystemItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.replies import Replies
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.caller_turn import CallerTurn
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import events


class Presence:
    """The caller's presence in a cascade conversation."""

    def __init__(
        self,
        context: PlaybookContext,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        replies: Replies,
        barge_in: BargeIn,
        caller: CallerTurn,
        outbox: Outbox,
    ) -> None:
        self._is_on_hold = False
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._barge_in = barge_in
        self._caller = caller
        self._outbox = outbox

    def on_hold(self, event: events.Hold, now: float) -> None:
        """The call is put on hold or taken off hold."""
        self._is_on_hold = event.on_hold
        by_us = event.initiator == "system"
        if event.on_hold and self._phase.fire(Signal.HOLD):
            self._replies.stop_speculating("the call is on hold")
            self._timers.clear_all()
            self._floor.reset()
            if by_us and self._replies.actions.unhold_at is not None:
                self._timers.set(Timer.UNHOLD, max(now, self._replies.actions.unhold_at))
            text = "[You have put the caller on hold.]" if by_us else "[The caller has put the call on hold.]"
            self._outbox.remember(SystemItem(text))
        elif not event.on_hold and self._phase.fire(Signal.UNHOLD):
            self._outbox.remember(SystemItem("[The caller is back.]"))
            is_own, self._replies.actions.unhold_at = self._replies.actions.unhold_at is not None, None
            self._timers.clear(Timer.UNHOLD)
            self._return_from_hold(now)
            if is_own and self._phase.state is State.LISTENING and self._context.has_model:
                self._replies.ask(now)

    def call_begins(self) -> None:
        """The call has sound. If it starts on hold, the agent waits and speaks when the hold is over."""
        if self._is_on_hold:
            self._phase.fire(Signal.DONE)
            self._phase.fire(Signal.HOLD)

    def _return_from_hold(self, now: float) -> None:
        if self._barge_in.settling is not None:
            self._barge_in.want_resume(now)
            self._caller.settled("", now)
        elif self._barge_in.is_undecided:
            self._barge_in.want_resume(now)
        elif self._caller.answer_what_waits(now):
            return
        self._replies.go_on(now)

    def on_transfer(self, event: events.Transfer, now: float) -> None:
        """A transfer has progressed or ended."""
        self._on_absence(absence_by_transfer(event, self._context.wording, self._context.playbook.greeting), now)

    def on_bridge(self, event: events.Bridge, now: float) -> None:
        """The caller is bridged to another call, or the bridge has ended."""
        if event.state == "joined" or self._phase.state is State.AWAY:
            self._on_absence(absence_by_bridge(event, self._context.wording), now)

    def _on_absence(self, decision: CallerLeaves | CallerReturns | None, now: float) -> None:
        match decision:
            case CallerLeaves():
                self._part(now)
            case CallerReturns(hint, text):
                self._come_back(hint, text, now)
            case None:
                pass
            case _:
                assert_never(decision)

    def wait_through_music(self, now: float) -> None:
        """The other side plays music, so nobody listens: stop, keep what was said, and say nothing."""
        if self._phase.state not in (State.AWAY, State.ENDED) and not self._replies.actions.has_hung_up:
            self._outbox.note("waiting through hold music")
            self._fall_silent(now)

    def _part(self, now: float) -> None:
        """The caller is now connected to somebody else: stop, keep what was said, and wait."""
        if self._phase.state in (State.AWAY, State.ENDED) or self._replies.actions.has_hung_up:
            return
        self._fall_silent(now)
        self._phase.fire(Signal.PART)

    def _fall_silent(self, now: float) -> None:
        self._barge_in.cut(now)
        self._replies.stop()
        self._timers.clear_all()
        self._barge_in.await_settling(now)
        self._barge_in.forget()
        self._barge_in.is_greeting = False
        self._caller.forget()
        self._floor.reset()

    def _come_back(self, hint: str, text: str, now: float) -> None:
        """The caller is back: a model gets `hint` and speaks; a script says `text`. On hold, this waits until the hold is over."""
        if self._replies.actions.has_hung_up or not (self._phase.fire(Signal.BACK) or self._phase.fire(Signal.STAY)):
            return
        if self._barge_in.settling is not None:
            self._caller.settled("", now)
        self._caller.took_part()
        if self._is_on_hold:
            self._phase.fire(Signal.HOLD)
        self._outbox.remember(SystemItem(hint))
        if self._context.has_model:
            self._replies.ask(now)
        else:
            self._replies.say(text, now)
