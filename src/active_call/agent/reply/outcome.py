"""Report when a reply is over: heard to its end, interrupted by the caller, or empty.

In: the start of a reply, its heard words, its end. Out: one `replyEnd` event per reply. Parts that continue without the caller are one
reply: the words before a tool, the tool, and the words about its result; also a reply that is paused or cut and then resumed. If the call
ends first, the event says `hangup`.
"""

from __future__ import annotations

from active_call.agent.effects import EmitEvent
from active_call.agent.outbox import Outbox
from active_call.contract import events


class ReplyOutcome:
    """The current reply, as the watchers of the call see it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._is_open = self._was_heard = False
        self._number = 0

    @property
    def is_open(self) -> bool:
        """Whether a reply is active."""
        return self._is_open

    def begin(self, number: int = 0) -> None:
        """A reply begins, or the current one continues under `number`."""
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
        """The caller has the turn, so the reply does not continue. No effect if no reply is active."""
        self._end("interrupted")

    def _end(self, outcome: str) -> None:
        if self._is_open:
            self._is_open = False
            self._outbox.put(EmitEvent(events.ReplyEnd(reply=self._number, outcome=outcome)))
