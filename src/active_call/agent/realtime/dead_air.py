"""Prevent dead air while the caller waits for a realtime model: play a filler or an apology with the call's own voice.

In: when the caller starts to wait, when sound starts. Out: sentences of the playbook, the cause for the log. The model's sound replaces
these sentences when it arrives. They are not part of the conversation.
"""

from __future__ import annotations

from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

PLAY_ID = "realtime-wait"


class RealtimeDeadAir:
    """The dead-air watch of one conversation."""

    def __init__(self, context: PlaybookContext, timers: Timers, outbox: Outbox) -> None:
        self._context = context
        self._timers = timers
        self._outbox = outbox
        self._since: float | None = None
        """When the caller started to wait; None if the caller does not wait."""
        self._has_filled = False

    def waiting(self, now: float) -> None:
        """The caller waits, or still waits, for the model."""
        if self._since is not None:
            return
        self._since, self._has_filled = now, not self._context.playbook.llm.filler
        llm = self._context.playbook.llm
        self._timers.set(Timer.DEAD_AIR, now + (llm.apology_after_ms if self._has_filled else llm.filler_after_ms) / 1000)

    def over(self) -> None:
        """Sound has started, or nothing is awaited. No effect if the caller was not waiting."""
        self._since = None
        self._timers.clear(Timer.DEAD_AIR)

    def on_due(self, now: float, waits_for: str) -> None:
        """The timer has expired without sound."""
        if self._since is None:
            return
        llm = self._context.playbook.llm
        if not self._has_filled:
            self._has_filled = True
            self._timers.set(Timer.DEAD_AIR, max(now, self._since + llm.apology_after_ms / 1000))
            self._outbox.note("filler said", waits_for=waits_for)
            self._say(llm.filler or "")
            return
        self._outbox.note("dead air", waits_for=waits_for, after_ms=round((now - self._since) * 1000))
        self._say(self._context.apology)

    def failed(self) -> None:
        """The model has not answered in time: say so to the caller."""
        if self._since is not None:
            self.over()
            self._say(self._context.error_reply)

    def _say(self, text: str) -> None:
        filled = self._context.fill(text)
        if filled.strip():
            self._outbox.perform(commands.Tts(text=filled, play_id=PLAY_ID))
