"""Requests that the trunk sends, until something comes back; and what it has answered, for repetitions.

Enters: messages and time. Leaves: octets by way of the trunk's `transmit`, and outcomes. It must not know dialogs. RFC 3261 section 17.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from active_call.testing.phone.sip import Message
from active_call.testing.phone.wire import Peer

T1_S, T2_S = 0.5, 4.0
TIMEOUT_S = 32.0


def branch_of(message: Message) -> str:
    """The branch of the topmost Via, empty when there is none."""
    found = re.search(r"branch=([^;\s]+)", message.get("via"))
    return found.group(1) if found else ""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request of ours and what came back. `wait_final` of `Trunk` waits for `final`."""

    request: Message
    peer: Peer
    on_response: Callable[[Exchange, Message], None] | None = None
    responses: list[Message] = field(default_factory=list)
    sent_at: float = field(default_factory=time.monotonic)
    times: list[float] = field(default_factory=list)
    """When each response came, monotonic seconds."""

    @property
    def final(self) -> Message | None:
        """The first final response."""
        return next((one for one in self.responses if one.status >= 200), None)

    @property
    def status(self) -> int:
        """The final status, 0 while there is none."""
        return self.final.status if self.final is not None else 0


@dataclass(slots=True, eq=False)
class Timer:
    """Something to do at a moment, unless cancelled."""

    due: float
    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Cancel it."""
        self.cancelled = True


@dataclass(slots=True)
class Timers:
    """The timers of the trunk, run from the hub's tick."""

    waiting: list[Timer] = field(default_factory=list)

    def after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Do something once, after that many seconds."""
        timer = Timer(time.monotonic() + delay_s, action)
        self.waiting.append(timer)
        return timer

    def repeat(self, interval_s: float, most_s: float, limit_s: float, action: Callable[[], None], over: Callable[[], None]) -> Timer:
        """Do something at growing intervals; `over` once the limit is reached. Cancelling the result ends it all."""
        handle = Timer(time.monotonic() + limit_s, lambda: None)

        def again(interval: float, spent: float) -> None:
            if handle.cancelled:
                return
            if spent >= limit_s:
                over()
                return
            action()
            longer = min(2 * interval, most_s)
            self.after(min(longer, max(limit_s - spent, 0.02)), lambda: again(longer, spent + longer))

        self.after(min(interval_s, limit_s), lambda: again(interval_s, interval_s) if interval_s < limit_s else _end(handle, over))
        return handle

    def run_due(self) -> None:
        """Do what is due, in order."""
        now = time.monotonic()
        due = sorted((one for one in self.waiting if one.due <= now or one.cancelled), key=lambda one: one.due)
        for timer in due:
            self.waiting.remove(timer)
            if not timer.cancelled:
                timer.action()


def _end(handle: Timer, over: Callable[[], None]) -> None:
    if not handle.cancelled:
        over()
