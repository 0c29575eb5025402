"""Reads urgent sockets between the steps of tasks, so that their input does not wait for the end of a long pass of the event loop.

The loop reads its sockets once in each pass. In a wave of calls a pass has many steps of some milliseconds, and the processor may be
shared: without this, a call that is refused would wait for all of them. Tasks with costly steps call `read` before each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from active_call.base.world import Clock

MIN_INTERVAL_S: Final = 0.001
"""The sockets are read at most this often; reading one that has nothing takes some tens of microseconds, and steps follow fast."""


class UrgentInput:
    """`read` calls `reader`, which must not block. The owner of the sockets sets `reader` once they are open."""

    def __init__(self, clock: Clock) -> None:
        self.reader: Callable[[], None] = lambda: None
        self._now = clock.now
        self._due = 0.0

    def read(self) -> None:
        """Handle the input that has arrived. Call it at the beginning of a step, never inside another operation of the reader's owner."""
        now = self._now()
        if now >= self._due:
            self._due = now + MIN_INTERVAL_S
            self.reader()
