"""Limits the time that bulk input takes in one pass of the event loop, so that a busy loop still serves timers, signalling and signals.

The sound of all calls enters by sockets that the loop reads once in each pass. If handling it takes longer than it takes to arrive, each
pass finds more than the one before: passes grow to many seconds, in which nothing else is served. So the sockets with sound share
`BUDGET_S` of CPU time in each pass. What exceeds it waits, in order of arrival, and its sockets are not read meanwhile: the rest waits in
the kernel. Between two items `before_item` reads what cannot wait for that (`urgent_input`).

A `BulkSource` belongs to one socket. `BulkInput.behind_s` is how long input has been waiting without a break: a moment after a pause of the
process, and ever longer if the process cannot keep up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from math import inf
from time import thread_time
from typing import Any, Final, Generic, TypeVar

from active_call.base.world import Clock

BUDGET_S: Final = 0.02
"""A loop that keeps up handles the sound of a tick in less, so that nothing waits."""
READING_S: Final = 0.002
"""For so long after a reading of the CPU time all time counts as CPU time: reading it costs ten times as much as the wall clock."""
log: Final = logging.getLogger("active_call.input")

Item = TypeVar("Item")


class BulkInput:
    """The time that all sources share. Used in one event loop; `cpu_s` is the CPU time of its thread.

    It is CPU time, since a pass of a process that waits for a core would otherwise handle next to nothing. It is read only when the wall
    clock does not answer the question: a thread never uses more CPU time than passes.
    """

    def __init__(
        self,
        clock: Clock,
        budget_s: float = BUDGET_S,
        cpu_s: Callable[[], float] = thread_time,
        before_item: Callable[[], object] = lambda: None,
    ) -> None:
        self.before_item = before_item
        """Called before each item is handled."""
        self._now = clock.now
        self._budget_s = budget_s
        self._cpu_s = cpu_s
        self._reading = (-inf, 0.0)
        """The last reading of the CPU time: when, and its value."""
        self._has_begun = False
        """Something was handled in this pass."""
        self._cpu_until = 0.0
        """The CPU time at which the time for this pass is over."""
        self._surely_until = 0.0
        """Until then, by the clock, it cannot be over."""
        self._waiting: deque[BulkSource[Any]] = deque()
        """The source of each waiting item, in order of arrival."""
        self._behind_since = 0.0

    @property
    def behind_s(self) -> float:
        """For how long input has been waiting without a break, in seconds; 0 if none waits."""
        return self._now() - self._behind_since if self._waiting else 0.0

    def has_time(self) -> bool:
        """Whether an item that arrives now may be handled at once."""
        if self._waiting:
            return False
        if self._has_begun:
            return self._now() < self._surely_until or self._is_left()
        self._begin()
        asyncio.get_running_loop().call_soon(self._next_pass)
        return True

    def _begin(self) -> None:
        """The first item of a pass."""
        self._has_begun = True
        now = self._now()
        read_at, cpu_s = self._reading
        if now - read_at >= READING_S:
            cpu_s = self._cpu_s()
            self._reading = (now, cpu_s)
        else:
            cpu_s += now - read_at
        self._cpu_until = cpu_s + self._budget_s
        self._surely_until = now + self._budget_s

    def _is_left(self) -> bool:
        """Whether time is left in this pass, by the CPU time."""
        now = self._now()
        cpu_s = self._cpu_s()
        self._reading = (now, cpu_s)
        self._surely_until = now + self._cpu_until - cpu_s
        return cpu_s < self._cpu_until

    def enqueue(self, source: BulkSource[Any]) -> None:
        """An item of `source` waits."""
        if not self._waiting:
            self._behind_since = self._now()
        self._waiting.append(source)

    def _next_pass(self) -> None:
        self._has_begun = False
        if not self._waiting:
            return
        self._begin()
        while self._waiting:
            self._waiting.popleft().proceed()
            if self._now() >= self._surely_until and not self._is_left():
                break
        asyncio.get_running_loop().call_soon(self._next_pass)


class BulkSource(Generic[Item]):
    """The input of one socket: `handle` gets each item, at once or in a later pass, in order.

    `pause` and `resume` stop and continue reading the socket. `pause` is called whenever something
    arrives while an item waits.
    """

    def __init__(
        self,
        bulk: BulkInput,
        handle: Callable[[Item], object],
        pause: Callable[[], object] = lambda: None,
        resume: Callable[[], object] = lambda: None,
    ) -> None:
        self._bulk, self._handle = bulk, handle
        self._pause, self._resume = pause, resume
        self._items: deque[Item] = deque()
        self._is_paused = False

    @property
    def is_waiting(self) -> bool:
        """Whether an item waits."""
        return bool(self._items)

    def take_one(self, item: Item) -> None:
        """As `take`, in fewer steps."""
        if not self._items and self._bulk.has_time():
            self._bulk.before_item()
            self._handle(item)
        else:
            self.take(item)

    def take(self, *items: Item) -> None:
        """Handle `items` in the time of this pass, and the others later. An error is passed on, but not from a later pass."""
        if self._items:
            self._is_paused = True
            self._pause()
        for item in items:
            if not self._items and self._bulk.has_time():
                self._bulk.before_item()
                self._handle(item)
            else:
                self._items.append(item)
                self._bulk.enqueue(self)

    def proceed(self) -> None:
        """Handle the item that has waited longest."""
        if not self._items:
            return  # `flush` or `close` was called meanwhile
        self._bulk.before_item()
        try:
            self._handle(self._items.popleft())
        except Exception:  # a wall: one socket
            log.exception("input failed")
        if not self._items and self._is_paused:
            self._is_paused = False
            self._resume()

    def flush(self) -> None:
        """Handle all waiting items now: the socket is closed, and no more follow."""
        while self._items:
            self.proceed()
        self._handle = self._pause = self._resume = _nothing  # the owner of the socket is freed without the garbage collector

    def close(self) -> None:
        """Drop the waiting items."""
        self._items.clear()


def _nothing(*_: object) -> None:
    """What is done for a source that has ended."""
