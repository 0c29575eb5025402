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
    """Items of type T. `is_essential` names those that are never refused while there is any room."""

    def __init__(self, is_essential: Callable[[T], bool], *, size: int = MAILBOX_SIZE, reserved: int = RESERVED) -> None:
        self._is_essential = is_essential
        self._size = size
        self._reserved = reserved
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.n_refused = 0

    def put(self, item: T, *, always: bool = False) -> bool:
        """Add `item`; False if there is no room. With `always` it is added in any case."""
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
        """The next item; the mailbox must not be empty."""
        return self._items.popleft()

    async def wait(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; None if there is none for `timeout_s` seconds. One task waits at a time.

        It uses a bare future: a call waits here about three times a second, and most waits end with an item.
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
