"""Selects the next engine of a stream, and the delay before it, after the one in use has failed. Pure.

| the stream … | next |
|---|---|
| failed after working for `STABLE_S` | the same engine, at once |
| failed earlier, for the first time | the same engine, after the first delay |
| failed again, or gave no result | the next usable engine, at once; after the last one the first again, after a growing delay |
| failed permanently (not retryable) | the next usable engine; this one is not used again; if none is left, no engine |
"""

from __future__ import annotations

from msgspec import Struct

from active_call.base.errors import ActiveCallError, ProviderError

STABLE_S = 10.0
"""A stream that lived this long worked; earlier failures no longer count."""
ATTEMPTS = 2
"""Consecutive streams of one engine before the next engine is tried."""
FIRST_DELAY_S = 0.2
MAX_DELAY_S = 5.0


class Choice(Struct, frozen=True):
    """Open engine number `position` after `delay_s`."""

    position: int
    delay_s: float


class EngineChoice:
    """Selects engines for one stream. The first of `n_engines` is preferred."""

    def __init__(self, n_engines: int, position: int = 0) -> None:
        self.position = position
        self._usable = set(range(n_engines))
        self._n_engines = n_engines
        self._failures_of_engine = 0
        self._failures = 0
        """Consecutive failures of all engines."""

    @property
    def has_other(self) -> bool:
        """Whether another engine could take over."""
        return bool(self._usable - {self.position})

    @property
    def next_position(self) -> int | None:
        """The engine that would take over; None if there is no other."""
        return self._following() if self.has_other else None

    def take(self, position: int) -> None:
        """Switch to another engine, which has given a result."""
        self.position = position
        self.note_result()

    def note_result(self) -> None:
        """The engine in use gave a result."""
        self._failures_of_engine = self._failures = 0

    def fail(self, error: ActiveCallError, *, lived_s: float = 0.0, leave: bool = False) -> Choice | None:
        """The stream failed after `lived_s`. With `leave`, switch at once if there is another engine. None: no engine is usable."""
        if lived_s >= STABLE_S:
            self.note_result()
        was_stable = self._failures == 0 and lived_s >= STABLE_S
        self._failures_of_engine += 1
        self._failures += 1
        if not (isinstance(error, ProviderError) and error.retryable) and not leave:
            self._usable.discard(self.position)
        if not self._usable:
            return None
        if self.position in self._usable and not (self.has_other and (leave or self._failures_of_engine >= ATTEMPTS)):
            return Choice(self.position, 0.0 if was_stable else self._delay_s())
        is_new_round = self._advance()
        return Choice(self.position, self._delay_s() if is_new_round else 0.0)

    def _advance(self) -> bool:
        """Move to the next usable engine. Returns whether that wraps around to the first one."""
        before, self.position = self.position, self._following()
        self._failures_of_engine = 0
        return self.position <= before

    def _following(self) -> int:
        """The next usable engine; the current one if there is no other."""
        following = [(self.position + step) % self._n_engines for step in range(1, self._n_engines + 1)]
        return next(position for position in following if position in self._usable)

    def _delay_s(self) -> float:
        return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._failures - 1, 10))
