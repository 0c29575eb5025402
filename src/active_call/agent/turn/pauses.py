"""The usual length of one caller's pauses within a turn, learnt during the call: a slow speaker gets more time, a quick one less.

In: each pause after which the caller continued (also one that the agent took for the end), and each turn that ended correctly. Out: the
duration below which silence is weak evidence of an end. Theory: moving mean and mean deviation (weight 1/4, as in RFC 6298); the result is
the mean plus two deviations, at most `MAX_S`. Each turn that ended correctly reduces it by a quarter.
"""

from __future__ import annotations

WEIGHT = 0.25
MAX_S = 2.5
SHORT_S = 0.15
"""A shorter gap is within a word and not a pause."""


class Pauses:
    """The pauses of one caller."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0
        self._usual_s = 0.0

    @property
    def usual_s(self) -> float:
        """Shorter silence is probably a pause within the turn; 0 while nothing is known."""
        return self._usual_s

    def went_on(self, pause_s: float) -> None:
        """The caller was silent for `pause_s` and continued."""
        if not SHORT_S <= pause_s <= MAX_S:
            return
        if self._mean is None:
            self._mean = pause_s
        else:
            self._deviation += WEIGHT * (abs(pause_s - self._mean) - self._deviation)
            self._mean += WEIGHT * (pause_s - self._mean)
        self._usual_s = min(MAX_S, self._mean + 2 * self._deviation)

    def ended_rightly(self) -> None:
        """The agent took a silence for the end of the turn, correctly."""
        self._usual_s *= 0.75
