"""What the control process takes for a call that is there, and for one that begins: told apart from how much it took in all.

In: for a stretch of time, the call-seconds in it, how many calls began and ended, and the processor time. Out: two costs. Pure.

Theory. `time = call_seconds * per_call_second + begun * per_new_call`, by least squares over the last seconds, which count less the older
they are. While calls neither begin nor end, or do so at an even pace, the two cannot be told apart; then they stay near what was known
before, at first near what a call costs on an ordinary core. The end of a call costs about half of its beginning.
"""

from __future__ import annotations

from typing import Final

PER_CALL_SECOND: Final = 0.0006
PER_NEW_CALL: Final = 0.005
"""Seconds, as measured (`benchmarks/RESULTS.md`)."""
END_WEIGHT: Final = 0.5
KEPT: Final = 0.97
"""Of the weight of what is known, at each further stretch: at four a second, half is forgotten in 6 s."""
PRIOR_CALL_SECONDS: Final = 100.0
PRIOR_NEW_CALLS: Final = 20.0
"""How much the costs known at first weigh: as stretches with so many call-seconds, so many new calls."""


class ControlCost:
    """The two costs, in seconds of processor time."""

    def __init__(self) -> None:
        self.per_call_second = PER_CALL_SECOND
        self.per_new_call = PER_NEW_CALL
        self._squares = [0.0, 0.0, 0.0]
        """Of call-seconds, of both, of new calls."""
        self._products = [0.0, 0.0]
        """Of each of them with the time."""

    def take(self, call_seconds: float, n_begun: int, n_ended: int, used_s: float) -> None:
        """One more stretch of time."""
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
        """The time that so many beginnings and ends take."""
        return self.per_new_call * (n_begun + END_WEIGHT * n_ended)

    def _solve(self) -> None:
        prior_calls, prior_new = PRIOR_CALL_SECONDS**2, PRIOR_NEW_CALLS**2
        calls, both, new = self._squares[0] + prior_calls, self._squares[1], self._squares[2] + prior_new
        of_calls = self._products[0] + prior_calls * PER_CALL_SECOND
        of_new = self._products[1] + prior_new * PER_NEW_CALL
        determinant = calls * new - both * both
        self.per_call_second = max(0.0, (of_calls * new - of_new * both) / determinant)
        self.per_new_call = max(PER_NEW_CALL / 10, (of_new * calls - of_calls * both) / determinant)
