"""Sinks for closed records in addition to the database: JSON files or a web service.

A sink takes a record whole or raises: SinkBusy, when the same may succeed later; RecordRefused, when it never will.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from active_call.base.errors import ActiveCallError


class SinkBusy(ActiveCallError):
    """The sink cannot take records now: a full disk, a service that does not answer."""

    code = "sink_busy"


class RecordRefused(ActiveCallError):
    """The sink will never take this record."""

    code = "record_refused"


class RecordDelivery(Protocol):
    """One sink. The same record may come twice; the second time changes nothing."""

    gives_up: bool
    """Whether a record that was never taken becomes a dead letter in the end."""

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        """Bring one record, a JSON object; returns when it is safe. Raises SinkBusy or RecordRefused."""
        ...

    async def close(self) -> None:
        """End the threads. Nothing may be delivered afterwards."""
        ...
