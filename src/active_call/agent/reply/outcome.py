"""Tells when a reply is over: heard to its end, cut by the caller, or without anything to say.

In: the beginning of a reply, words of it that were heard, its end. Out: one `replyEnd` event for each reply. What leads on by itself is
one reply: the words before a tool, the tool, and what is said about its result; a reply that is paused or cut and then goes on. A call
that ends tells `hangup` instead.
"""

from __future__ import annotations

from active_call.agent.effects import Tell
from active_call.agent.outbox import Outbox
from active_call.contract import events


class ReplyOutcome:
    """The reply under way, as those who follow the call see it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._is_open = self._was_heard = False
        self._number = 0

    @property
    def is_open(self) -> bool:
        """A reply is under way."""
        return self._is_open

    def begin(self, number: int = 0) -> None:
        """A reply begins, or the one under way goes on under `number`."""
        self._number = number
        if not self._is_open:
            self._is_open, self._was_heard = True, False

    def heard(self) -> None:
        """The caller has heard something of it."""
        self._was_heard = True

    def done(self) -> None:
        """All of it was said and heard."""
        self._end("heard" if self._was_heard else "nothing")

    def interrupted(self) -> None:
        """The caller has the turn: it does not go on. Harmless when no reply is under way."""
        self._end("interrupted")

    def _end(self, outcome: str) -> None:
        if self._is_open:
            self._is_open = False
            self._outbox.put(Tell(events.ReplyEnd(reply=self._number, outcome=outcome)))
