"""The time of one call: monotonic seconds, and the time of day as the start of the call plus the time since.

Changes of the system clock during the call affect no duration and no order.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from active_call.base.world import Clock


class CallTime:
    """Starts when it is created."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now: Callable[[], float] = clock.now
        """Monotonic seconds."""
        self._began_at = clock.now()
        self.started_at = clock.utc_now()
        """When the call began, aware UTC."""
        self._epoch_offset_s = self.started_at.timestamp() - self._began_at

    def utc_now(self) -> datetime:
        """The time of day, aware UTC."""
        return self.started_at + timedelta(seconds=self.clock.now() - self._began_at)

    def to_epoch_ms(self, monotonic_s: float) -> int:
        """Monotonic seconds as milliseconds since the Unix epoch."""
        return int((monotonic_s + self._epoch_offset_s) * 1000)
