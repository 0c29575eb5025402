"""The tick schedule: every 20 ms on a grid that does not drift, with a policy for stalls.

`now` goes in; the time of the next tick and the number of skipped ones come out. This module neither sleeps nor sends.

A late tick keeps its place on the grid. Those after it follow at least `CATCH_UP_S` apart, so that the delay is made up without a burst.
After more than `GIVE_UP_S` the missed ticks are skipped and counted: the index jumps to the present.
"""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.020
CATCH_UP_S: Final = 0.010
GIVE_UP_S: Final = 0.100


class TickClock:
    """The ticks since `start` (monotonic seconds). `index` is the number of the next tick."""

    def __init__(self, start: float) -> None:
        self.index = 0
        self._start = start
        self._not_before = start

    @property
    def due_at(self) -> float:
        """When the next tick must start."""
        return max(self._start + self.index * TICK_S, self._not_before)

    def begin(self, now: float) -> tuple[int, float, int]:
        """Start the due tick. Returns its index, its lateness in seconds, and the number of ticks skipped before it."""
        late_s = now - self.due_at
        behind_s = now - (self._start + self.index * TICK_S)
        skipped = int(behind_s / TICK_S) if behind_s > GIVE_UP_S else 0
        index = self.index + skipped
        self.index = index + 1
        self._not_before = now + CATCH_UP_S
        return index, max(late_s, 0.0), skipped

    def resume(self, now: float) -> None:
        """There were no streams: continue with the first tick in the future, and count none as skipped."""
        self.index = max(self.index, int((now - self._start) / TICK_S) + 1)
