"""The ordered mailbox of one call: bounded, except for what ends a call, which is never refused.

In: items from anywhere on the loop. Out: the same items, in order, one at a time. A call that cannot keep up is told by `is_overflowed`:
its items are refused and counted. For essential items (the end of the leg, a hang-up) there is room beyond the bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAILBOX_SIZE = 4096
"""Seconds of the busiest call."""
RESERVED = 256
"""Room beyond the bound for what ends a call. There are a handful of such items, unless a client sends hang-ups without end."""


class Mailbox(Generic[T]):
    """Items of type T. `is_essential` names those that are never refused while there is any room."""

    def __init__(self, is_essential: Callable[[T], bool], *, size: int = MAILBOX_SIZE, reserved: int = RESERVED) -> None:
        self._is_essential = is_essential
        self._size = size
        self._reserved = reserved
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.n_refused = 0

    def put(self, item: T, *, always: bool = False) -> bool:
        """Add `item`; False if there is no room for it. With `always` it is added in any case."""
        n_waiting = len(self._items)
        if n_waiting >= self._size and not always:
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
        """The next item; there must be one."""
        return self._items.popleft()

    async def wait(self, timeout_s: float | None = None) -> T | None:
        """The next item, when there is one; None when there is none for `timeout_s` seconds. One task waits at a time.

        Written on a bare future: a call waits here some three times a second, and most waits end by an item.
        """
        if not self._items:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = None if timeout_s is None else loop.call_later(timeout_s, self._wake)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._items.popleft() if self._items else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
