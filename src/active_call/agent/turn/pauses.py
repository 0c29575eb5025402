"""How long one caller's pauses within a turn are, learnt in the call: a slow speaker is given more time, a quick one less.

In: each pause after which the caller went on (also one that the agent took for the end), each turn that ended rightly. Out: a time below
which silence says little. Theory: moving mean and mean deviation (weight a quarter, as in RFC 6298), the mean and two deviations of them,
at most `MAX_S`; a quarter of it is forgotten at each turn that ended rightly.
"""

from __future__ import annotations

WEIGHT = 0.25
MAX_S = 2.5
SHORT_S = 0.15
"""A shorter gap is within a word: it says nothing of pauses."""


class Pauses:
    """The pauses of one caller."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0
        self._usual_s = 0.0

    @property
    def usual_s(self) -> float:
        """Silence shorter than this is likely a pause; 0 while nothing is known."""
        return self._usual_s

    def went_on(self, pause_s: float) -> None:
        """The caller was silent for `pause_s` and went on."""
        if not SHORT_S <= pause_s <= MAX_S:
            return
        if self._mean is None:
            self._mean = pause_s
        else:
            self._deviation += WEIGHT * (abs(pause_s - self._mean) - self._deviation)
            self._mean += WEIGHT * (pause_s - self._mean)
        self._usual_s = min(MAX_S, self._mean + 2 * self._deviation)

    def ended_rightly(self) -> None:
        """The agent took a silence for the end of the turn, and was right."""
        self._usual_s *= 0.75
