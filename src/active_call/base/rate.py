"""A limit on how many a second, over any stretch of time and not only on the average.

`take` is for what comes and may be refused, `reserve` for what we begin and can let wait. Times are monotonic seconds and do not go back.
"""

from __future__ import annotations

from collections import deque


class Rate:
    """At most `per_s` a second; below one a second, one in `1 / per_s` seconds."""

    __slots__ = ("_at", "_period_s")

    def __init__(self, per_s: float) -> None:
        n = max(1, int(per_s))
        self._period_s = n / per_s
        self._at: deque[float] = deque(maxlen=n)

    def take(self, now: float) -> bool:
        """Whether one more may pass now; if so it counts."""
        if self.due_at(now) > now:
            return False
        self._at.append(now)
        return True

    def due_at(self, now: float) -> float:
        """When the next one may pass; `now` where it need not wait."""
        if len(self._at) < (self._at.maxlen or 1):
            return now
        return max(now, self._at[0] + self._period_s)

    def reserve(self, now: float) -> float:
        """A place in the queue: when the next one passes, which counts from now on."""
        at = max(self.due_at(now), self._at[-1] if self._at else now)
        self._at.append(at)
        return at
