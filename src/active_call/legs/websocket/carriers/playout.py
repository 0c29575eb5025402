"""Estimate how much of the sent sound has been played: the carrier buffers it and returns our marks as it plays them. Pure.

    sent ──mark every MARK_EVERY_MS──> carrier ──returned mark──> played up to there; from then on the time counts

After a clear all marks return at once and carry no information. If a carrier returns no marks, it is assumed to play at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MARK_EVERY_MS: Final = 500.0
MAX_MARKS: Final = 200
"""Maximum number of outstanding marks; the oldest is dropped beyond that."""


class Playout:
    """One stream. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sent_ms = 0.0
        self._anchor = (0.0, 0.0)
        """(sound played in ms, time): the last known position."""
        self._marks: OrderedDict[str, float] = OrderedDict()
        self._n_marks = 0
        self._marked_ms = 0.0
        self.has_answered = False
        """A mark has been returned, so it is useful to wait for one."""
        self.n_missed = 0
        """Consecutive marks that were not returned in time."""

    def sent(self, length_ms: float, now: float) -> None:
        """`length_ms` of sound is being sent."""
        if self.ahead_ms(now) <= 0.0:  # the buffer is empty
            self._anchor = (self._sent_ms, now)
        self._sent_ms += length_ms

    @property
    def wants_mark(self) -> bool:
        """Whether enough has been sent since the last mark."""
        return self._sent_ms - self._marked_ms >= MARK_EVERY_MS

    def mark(self) -> str:
        """The name of a new mark after all sent sound."""
        self._n_marks += 1
        name = f"m{self._n_marks}"
        self._marked_ms = self._marks[name] = self._sent_ms
        if len(self._marks) > MAX_MARKS:
            self._marks.popitem(last=False)
        return name

    def returned(self, name: str, now: float) -> bool:
        """The carrier has returned a mark. False for one that is not ours, was cleared or was returned before."""
        position_ms = self._marks.pop(name, None)
        if position_ms is None:
            return False
        self.has_answered, self.n_missed = True, 0
        for earlier in [one for one, at_ms in self._marks.items() if at_ms < position_ms]:
            del self._marks[earlier]  # it will not be returned any more
        self._anchor = (position_ms, now)
        return True

    def ahead_ms(self, now: float) -> float:
        """How much of the sent sound has not been played."""
        if not self.has_answered:
            return 0.0
        heard_ms, at = self._anchor
        return max(0.0, self._sent_ms - heard_ms - (now - at) * 1000)

    def clear(self, now: float) -> float:
        """All unplayed sound is dropped now. Returns its duration."""
        dropped_ms = self.ahead_ms(now)
        self._marks.clear()
        self._anchor = (self._sent_ms, now)
        return dropped_ms

    def forget_answers(self) -> None:
        """A mark was not returned in time: sent sound counts as played until one is."""
        self.has_answered = False
        self.n_missed += 1
