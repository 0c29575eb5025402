"""Sees that a caller who waits for a realtime model hears something in time: a filler, an apology, spoken by the call's own voice.

In: when the caller begins to wait, when something sounds. Out: sentences of the playbook, the log's cause. The model's sound takes the
place of what is said here, when it comes. What is said here is no part of the conversation.
"""

from __future__ import annotations

from active_call.agent.context import PlaybookContext
from active_call.agent.outbox import Outbox
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

PLAY_ID = "realtime-wait"


class RealtimeDeadAir:
    """The watch of one conversation."""

    def __init__(self, context: PlaybookContext, timers: Timers, outbox: Outbox) -> None:
        self._context = context
        self._timers = timers
        self._outbox = outbox
        self._since: float | None = None
        """When the caller began to wait; None while it does not."""
        self._has_filled = False

    def waiting(self, now: float) -> None:
        """The caller waits for the model, or waits on."""
        if self._since is not None:
            return
        self._since, self._has_filled = now, not self._context.playbook.llm.filler
        llm = self._context.playbook.llm
        self._timers.set(Timer.DEAD_AIR, now + (llm.apology_after_ms if self._has_filled else llm.filler_after_ms) / 1000)

    def over(self) -> None:
        """Something sounds, or nothing is waited for; harmless where nothing was."""
        self._since = None
        self._timers.clear(Timer.DEAD_AIR)

    def on_due(self, now: float, waits_for: str) -> None:
        """So much time has passed without a sound."""
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
        """The model has given no answer in time: the caller is told."""
        if self._since is not None:
            self.over()
            self._say(self._context.error_reply)

    def _say(self, text: str) -> None:
        filled = self._context.fill(text)
        if filled.strip():
            self._outbox.perform(commands.Tts(text=filled, play_id=PLAY_ID))
