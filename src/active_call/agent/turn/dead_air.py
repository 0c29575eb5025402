"""Prevent dead air: watch the time from the end of the caller's turn to the first sound of the answer.

In: the end of a turn, the first sound, the time. Out: a filler after `llm.fillerAfterMs` (`llm.filler`; if that is unset and a tool runs,
about which nothing was said, a built-in one), and an apology after `llm.apologyAfterMs` (6 s). The apology says that it takes longer or, if
the synthesiser itself is late, is the error reply in a new playback. Each is said once per turn, and each logs what is late. While the
caller speaks or the call is on hold, the watch waits. Failures (of the model, a tool, the synthesiser) have their own timeouts; this module
only speaks.
"""

from __future__ import annotations

from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.replies import Replies
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers

AGAIN_S = 0.5
"""Nothing is said while the caller speaks. The watch checks again after this time."""


class DeadAir:
    """The watch for one turn at a time."""

    def __init__(self, context: PlaybookContext, phase: Phase, timers: Timers, floor: Floor, replies: Replies, outbox: Outbox) -> None:
        self._silent_since = 0.0
        """When the caller started to wait: at the end of the turn, or when a playback ended before everything was said."""
        self._has_filled = context.playbook.llm.filler == ""
        self._has_sounded = False
        """Something of the answer was audible, such as a tool's `say_meanwhile`."""
        self._has_apologised = False
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._outbox = outbox

    def turn_ended(self, now: float) -> None:
        """The caller's turn is over: the caller now waits for a sound."""
        self._silent_since = now
        self._has_apologised = self._has_sounded = False
        self._has_filled = self._context.playbook.llm.filler == ""
        self._timers.set(Timer.DEAD_AIR, now + (self._apology_s if self._has_filled else self._filler_s))

    def sounded(self) -> None:
        """Something of the reply is audible: the answer, unless it is the filler."""
        if not self._replies.is_filling:
            self._has_sounded = True
            self._timers.clear(Timer.DEAD_AIR)

    def went_silent(self, now: float) -> None:
        """A playback is over and more is expected: the caller waits again."""
        if self._replies.waits_for and not self._has_apologised:
            self._silent_since = now
            self._timers.set(Timer.DEAD_AIR, now + (self._apology_s if self._has_filled else self._filler_s))

    def on_due(self, now: float) -> None:
        """The timer has expired without a sound: say something."""
        if self._phase.state not in (State.THINKING, State.SPEAKING):
            return
        if self._floor.is_claimed:
            self._timers.set(Timer.DEAD_AIR, now + AGAIN_S)
            return
        cause = self._replies.waits_for
        if not cause:
            return
        if not self._has_filled and now < self._silent_since + self._apology_s:
            self._fill(cause, now)
            return
        self._has_apologised = True
        self._outbox.note("dead air", waits_for=cause, after_ms=round((now - self._silent_since) * 1000))
        if not self._replies.fill(self._context.apology, now):
            self._replies.on_voice_stuck(now)

    def _fill(self, cause: str, now: float) -> None:
        apology_at = self._silent_since + self._apology_s
        filler = self._context.playbook.llm.filler
        if filler is None and cause == "tool" and not self._has_sounded:
            filler = self._context.wording.one_moment
        if not filler:
            self._timers.set(Timer.DEAD_AIR, min(apology_at, now + AGAIN_S))  # the model may still call a tool
            return
        self._has_filled = True
        self._timers.set(Timer.DEAD_AIR, apology_at)
        if self._replies.fill(filler, now):
            self._outbox.note("filler said", waits_for=cause)

    @property
    def _filler_s(self) -> float:
        return self._context.playbook.llm.filler_after_ms / 1000

    @property
    def _apology_s(self) -> float:
        return self._context.playbook.llm.apology_after_ms / 1000
