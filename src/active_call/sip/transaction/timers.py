"""The endpoint's timers: one heap with lazy deletion.

Times, actions and their owners go in. The due actions come out, earliest first. This module knows no messages and reads no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from active_call.sip.faults import PartOfCall

_COMPACT_ABOVE = 256
"""Up to this many cancelled entries the heap is not compacted: that would cost more than it frees."""


class Timer:
    """One timer. `action` is None after it has fired or was cancelled. `owner` is None if no call is concerned."""

    __slots__ = ("action", "at", "owner")

    def __init__(self, at: float, action: Callable[[float], None], owner: PartOfCall | None) -> None:
        self.at = at
        self.action: Callable[[float], None] | None = action
        self.owner = owner


class Timers:
    """Timers in order of time. Timers for the same moment fire in the order in which they were set.

    If an action raises an error, `on_fault` gets it with the owner and the time, and the other actions run.
    """

    def __init__(self, on_fault: Callable[[Exception, PartOfCall | None, float], None] | None = None) -> None:
        self._on_fault = on_fault
        self._heap: list[tuple[float, int, Timer]] = []
        self._n_set = 0
        self._n_dead = 0

    def start(self, at: float, action: Callable[[float], None], owner: PartOfCall | None = None) -> Timer:
        """Call `action(now)` when `run_due` gets a time at or after `at` (monotonic seconds)."""
        timer = Timer(at, action, owner)
        self._n_set += 1
        heapq.heappush(self._heap, (at, self._n_set, timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Cancel `timer`. No effect if it has already fired."""
        if timer is None or timer.action is None:
            return
        timer.action = None
        self._n_dead += 1
        if self._n_dead > _COMPACT_ABOVE and self._n_dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._n_dead = 0

    def next_at(self) -> float | None:
        """When the earliest timer is due, None if no timer is set."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
            self._n_dead -= 1
        return heap[0][0] if heap else None

    def run_due(self, now: float) -> None:
        """Fire all timers due at `now`, including those that their actions set for a time not after `now`."""
        while True:
            at = self.next_at()
            if at is None or at > now:
                return
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                self._run(action, timer.owner, now)

    def _run(self, action: Callable[[float], None], owner: PartOfCall | None, now: float) -> None:
        try:
            action(now)
        except Exception as error:
            if self._on_fault is None:
                raise
            self._on_fault(error, owner, now)

    def __len__(self) -> int:
        return len(self._heap) - self._n_dead
