"""The caller's silence after the agent has spoken: when the agent speaks up, and what it says.

In: the end of a reply, the caller's words. Out: a follow-up of the model, or the next `## (silence)` entry of the script. After the caller
has asked for time ("one moment"), the first follow-up comes after `PATIENCE_S` at the earliest.
"""

from __future__ import annotations

from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.replies import Replies
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers

QUIET_S = 60.0
"""Without a follow-up, the interval in which the agent checks whether something is left to say."""
PATIENCE_S = 30.0


class CallerSilence:
    """The timers of the caller's silence, for one conversation."""

    def __init__(self, context: PlaybookContext, phase: Phase, timers: Timers, floor: Floor, replies: Replies) -> None:
        self.has_asked_for_time = False
        """The caller's last turn asked the agent to wait."""
        self._n_followups = 0
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies

    def caller_took_part(self) -> None:
        """The caller has spoken words or is back: reset the count."""
        self._n_followups = 0
        self._timers.clear(Timer.FOLLOWUP)

    def begin(self, now: float) -> None:
        """The agent has spoken, or a sound had no words: start the timers of the caller's silence."""
        if self._phase.state is not State.LISTENING:
            return
        found = self._context.followup()
        if self._replies.wait_input_s is not None:
            found = (self._replies.wait_input_s, found[1] if found else 1)
        if found is not None and not self._floor.is_caller_speaking and self._n_followups < found[1]:
            waits = self.has_asked_for_time and not self._n_followups
            self._timers.set(Timer.FOLLOWUP, now + (max(found[0], PATIENCE_S) if waits else found[0]))
        else:
            self._timers.set(Timer.QUIET, now + QUIET_S)

    def on_quiet(self, now: float) -> None:
        """Nobody has spoken for a minute: say what is left to say."""
        self._replies.pump(now)
        self.begin(now)

    def follow_up(self, now: float) -> None:
        """The caller has been silent for too long: send a follow-up."""
        if self._phase.state is not State.LISTENING:
            return
        self._n_followups += 1
        if self._context.has_model:
            self._replies.ask(now, self._context.wording.silent)
        else:
            self._replies.say(self._context.silence(), now)
