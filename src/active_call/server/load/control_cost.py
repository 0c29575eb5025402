"""Estimates the control process's CPU time per established call and per new call from its total CPU time.

In, per interval: the call-seconds, the numbers of calls begun and ended, and the CPU time. Out: two costs. Pure.

Theory. `time = call_seconds * per_call_second + begun * per_new_call`, fitted by least squares with exponentially decreasing weights. If no
calls begin or end, or if they do at a constant rate, the two costs cannot be separated. The estimates then stay near the previous values,
initially near the measured costs on an ordinary core. The end of a call costs about half as much as its set-up.
"""

from __future__ import annotations

from typing import Final

PER_CALL_SECOND: Final = 0.0006
PER_NEW_CALL: Final = 0.005
"""Seconds; measured, see `benchmarks/RESULTS.md`."""
END_WEIGHT: Final = 0.5
KEPT: Final = 0.97
"""The factor on all older weights at each new interval: with four intervals a second, a weight is halved in 6 s."""
PRIOR_CALL_SECONDS: Final = 100.0
PRIOR_NEW_CALLS: Final = 20.0
"""The weight of the initial costs: that of an interval with this many call-seconds, or this many new calls."""


class ControlCost:
    """The two costs, in seconds of CPU time."""

    def __init__(self) -> None:
        self.per_call_second = PER_CALL_SECOND
        self.per_new_call = PER_NEW_CALL
        self._squares = [0.0, 0.0, 0.0]
        """Weighted sums: call-seconds squared, call-seconds times new calls, new calls squared."""
        self._products = [0.0, 0.0]
        """Weighted sums: call-seconds times CPU time, new calls times CPU time."""

    def take(self, call_seconds: float, n_begun: int, n_ended: int, used_s: float) -> None:
        """Add an interval."""
        changes = n_begun + END_WEIGHT * n_ended
        squares, products = self._squares, self._products
        squares[:] = (
            squares[0] * KEPT + call_seconds**2,
            squares[1] * KEPT + call_seconds * changes,
            squares[2] * KEPT + changes**2,
        )
        products[:] = products[0] * KEPT + call_seconds * used_s, products[1] * KEPT + changes * used_s
        self._solve()

    def of_changes(self, n_begun: int, n_ended: int) -> float:
        """The CPU time for the set-up of `n_begun` calls and the end of `n_ended` calls."""
        return self.per_new_call * (n_begun + END_WEIGHT * n_ended)

    def _solve(self) -> None:
        prior_calls, prior_new = PRIOR_CALL_SECONDS**2, PRIOR_NEW_CALLS**2
        calls, both, new = self._squares[0] + prior_calls, self._squares[1], self._squares[2] + prior_new
        of_calls = self._products[0] + prior_calls * PER_CALL_SECOND
        of_new = self._products[1] + prior_new * PER_NEW_CALL
        determinant = calls * new - both * both
        self.per_call_second = max(0.0, (of_calls * new - of_new * both) / determinant)
        self.per_new_call = max(PER_NEW_CALL / 10, (of_new * calls - of_calls * both) / determinant)
