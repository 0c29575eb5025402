"""A limit on events per second, over any period and not only on average.

`take` is for incoming events, which may be refused; `reserve` is for our own, which can wait. Times are monotonic seconds.
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
        """Whether one more may pass now; if so, it is counted."""
        if self.due_at(now) > now:
            return False
        self._at.append(now)
        return True

    def due_at(self, now: float) -> float:
        """When the next one may pass; `now` if it need not wait."""
        if len(self._at) < (self._at.maxlen or 1):
            return now
        return max(now, self._at[0] + self._period_s)

    def reserve(self, now: float) -> float:
        """Reserve a place: returns when it may pass, and counts it."""
        at = max(self.due_at(now), self._at[-1] if self._at else now)
        self._at.append(at)
        return at
