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
    """Items of type T. `is_essential` names those that are never refused while there is any room, `is_last` those that never are."""

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
        """When the timer runs out, by the loop's clock; perhaps before anybody wants it."""
        self._due: float | None = None
        """When the waiter is to be woken at the latest."""
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

        Written on a bare future and a timer that is kept: a call waits here some three times a second, and most waits end by an item.
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
        """Nobody waits with a deadline any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float, delay_s: float) -> None:
        """Have the timer run out at `at` or before: deadlines move later more often than not, and an early one is set again."""
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
    """What makes a timer run out at its time and not before: libuv counts milliseconds, and uvloop rounds to the nearest."""
    return 0.0005 if type(loop).__module__.startswith("uvloop") else 0.0
