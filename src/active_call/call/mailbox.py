"""The ordered mailbox of one call. It is bounded, but items that end a call are never refused.

Items enter from anywhere on the loop and leave in order, one at a time. If a call cannot keep up, `is_overflowed` is set, and its items are
refused and counted. Essential items (the end of the leg, a hang-up) have room beyond the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAILBOX_SIZE = 4096
"""Some seconds of the busiest call."""
RESERVED = 256
"""Room beyond the limit for items that end a call. There are few of them, unless a client sends hang-ups endlessly."""


class Mailbox(Generic[T]):
    """Items of type T. Items with `is_essential` are accepted while there is any room, items with `is_last` always."""

    def __init__(
        self,
        is_essential: Callable[[T], bool],
        *,
        is_last: Callable[[T], bool] = lambda _: False,
        size: int = MAILBOX_SIZE,
        reserved: int = RESERVED,
    ) -> None:
        self._is_essential = is_essential
        self._is_last = is_last
        self._size = size
        self._reserved = reserved
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        """When the timer fires, on the loop's clock; it may be before the deadline."""
        self._due: float | None = None
        """The deadline of the waiting task."""
        self.n_refused = 0

    def put(self, item: T, *, always: bool = False) -> bool:
        """Add `item`; False if there is no room. With `always` it is added in any case."""
        n_waiting = len(self._items)
        if n_waiting >= self._size and not (always or self._is_last(item)):
            has_room = n_waiting < self._size + self._reserved
            if not (has_room and self._is_essential(item)):
                self.n_refused += 1
                return False
        self._items.append(item)
        self._wake()
        return True

    @property
    def is_overflowed(self) -> bool:
        """An item was refused."""
        return self.n_refused > 0

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._items

    def get_nowait(self) -> T:
        """The next item; the mailbox must not be empty."""
        return self._items.popleft()

    async def wait(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; None if there is none for `timeout_s` seconds. One task waits at a time.

        It uses a bare future and one timer for all waits: a call waits here about three times a second, and most waits end with an item.
        """
        if not self._items:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            if timeout_s is not None:
                self._due = loop.time() + timeout_s
                self._set_timer(loop, self._due, timeout_s)
            try:
                await waiter
            finally:
                self._waiter = self._due = None
        return self._items.popleft() if self._items else None

    def close(self) -> None:
        """Cancel the timer. No wait with a timeout follows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float, delay_s: float) -> None:
        """Set the timer to fire at `at` or earlier. Deadlines usually move later, and a timer that fires early is set again."""
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_later(delay_s + _rounding_s(loop), self._on_timer, loop)

    def _on_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._due is None:
            return
        left_s = self._due - loop.time()
        if left_s > 0:
            self._set_timer(loop, self._due, left_s)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _rounding_s(loop: asyncio.AbstractEventLoop) -> float:
    """Added to a delay so that the timer does not fire early: libuv counts milliseconds, and uvloop rounds to the nearest."""
    return 0.0005 if type(loop).__module__.startswith("uvloop") else 0.0
