"""When the ticks are due: every 20 ms on a grid that never drifts, and what happens after a stall.

`now` enters; the time of the next tick and how many were given up leave. Knows no sleeping and no packet.

A tick that starts late keeps its place on the grid, and those after it follow at least `CATCH_UP_S` apart, so that what was late is made up
for without a burst. After more than `GIVE_UP_S` the past is given up: the index jumps to the present, and the ticks between are counted.
"""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.020
CATCH_UP_S: Final = 0.010
GIVE_UP_S: Final = 0.100


class TickClock:
    """The ticks since `start` (monotonic seconds). `index` is the number of the tick that is due next."""

    def __init__(self, start: float) -> None:
        self.index = 0
        self._start = start
        self._not_before = start

    @property
    def due_at(self) -> float:
        """When the next tick is to start."""
        return max(self._start + self.index * TICK_S, self._not_before)

    def begin(self, now: float) -> tuple[int, float, int]:
        """Start the tick that is due: its index, how late it is in seconds, and how many ticks before it were given up."""
        late_s = now - self.due_at
        behind_s = now - (self._start + self.index * TICK_S)
        skipped = int(behind_s / TICK_S) if behind_s > GIVE_UP_S else 0
        index = self.index + skipped
        self.index = index + 1
        self._not_before = now + CATCH_UP_S
        return index, max(late_s, 0.0), skipped

    def resume(self, now: float) -> None:
        """There were no streams: go on with the first tick that lies ahead, and count none as skipped."""
        self.index = max(self.index, int((now - self._start) / TICK_S) + 1)
