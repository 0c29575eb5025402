"""The ordered mailbox of one call: bounded, except for what ends a call, which is never refused.

In: items from anywhere on the loop. Out: the same items, in order, one at a time. A call that cannot keep up is told by `is_overflowed`:
its items are refused and counted. For essential items (the end of the leg, a hang-up) there is room beyond the bound.
"""

from __future__ import annotations

import asyncio
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
        self._items: asyncio.Queue[T] = asyncio.Queue()
        self.n_refused = 0

    def put(self, item: T, *, always: bool = False) -> bool:
        """Take `item`; False when there was no room for it. With `always` it is taken whatever waits already."""
        n_waiting = self._items.qsize()
        if n_waiting >= self._size and not always:
            has_room = n_waiting < self._size + self._reserved
            if not (has_room and self._is_essential(item)):
                self.n_refused += 1
                return False
        self._items.put_nowait(item)
        return True

    @property
    def is_overflowed(self) -> bool:
        """Something was refused."""
        return self.n_refused > 0

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._items.empty()

    def get_nowait(self) -> T:
        """The next item; there must be one."""
        return self._items.get_nowait()

    async def get(self) -> T:
        """The next item, when there is one."""
        return await self._items.get()
