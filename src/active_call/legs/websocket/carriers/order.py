"""Reorder numbered pieces of sound. Pure.

A piece that is ahead waits for those before it, while at most MAX_WAITING are waiting; then the gap is given up. With a carrier that
numbers its messages and keeps their order, no piece ever waits.
"""

from __future__ import annotations

from typing import Final

MAX_WAITING: Final = 5
"""Pieces of 20 ms."""
RESTART: Final = 1000
"""A larger difference starts a new numbering."""


class ChunkOrder:
    """The pieces of one stream, whose numbers start anywhere."""

    def __init__(self, *, is_ordered: bool) -> None:
        self._is_ordered = is_ordered
        self._next: int | None = None
        self._waiting: dict[int, bytes] = {}
        self.n_late = 0
        """Pieces that arrived late or twice and were dropped."""
        self.n_missing = 0
        """Numbers that never arrived."""

    def take(self, number: int | None, data: bytes) -> list[bytes]:
        """Take a piece. Returns the pieces that are now in order."""
        if number is None:
            return [data]
        if number == self._next and not self._waiting:  # nearly always
            self._next = number + 1
            return [data]
        expected = number if self._next is None or abs(number - self._next) > RESTART else self._next
        if expected != self._next:
            self._waiting.clear()
        self._next = expected
        if number < expected or number in self._waiting:
            self.n_late += 1
            return []
        self._waiting[number] = data
        if self._is_ordered or len(self._waiting) > MAX_WAITING:
            first = min(self._waiting)
            self.n_missing += first - expected
            self._next = first
        return self._ready()

    def _ready(self) -> list[bytes]:
        ready = []
        while self._next is not None and self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready
