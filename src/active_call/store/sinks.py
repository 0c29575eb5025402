"""Sinks for closed records in addition to the database: JSON files or a web service.

A sink accepts a whole record or raises: SinkBusy if a retry may succeed, RecordRefused if it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from msgspec import Struct

from active_call.base.errors import ActiveCallError


class SinkBusy(ActiveCallError):
    """The sink cannot accept records now: a full disk, a service that does not answer."""

    code = "sink_busy"


class RecordRefused(ActiveCallError):
    """The sink will never accept this record."""

    code = "record_refused"


class ClosedRecord(Struct, frozen=True):
    """A record on its way to a sink. `body` is a JSON object."""

    record_id: str
    started_at: datetime
    body: bytes


class RecordDelivery(Protocol):
    """One sink. The same record may come twice; the second time changes nothing."""

    gives_up: bool
    """Whether a record that was never accepted finally becomes a dead letter."""

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        """Deliver one record, a JSON object; returns when it is stored. Raises SinkBusy or RecordRefused."""
        ...

    async def close(self) -> None:
        """End the threads. No delivery may follow."""
        ...


@runtime_checkable
class DeliversTogether(Protocol):
    """The ability of a sink to store several records at once, which costs less than one after the other."""

    async def deliver_all(self, records: Sequence[ClosedRecord]) -> tuple[int, SinkBusy | None]:
        """Deliver records in order. Returns how many are stored, and why the next one could not be; None: all are."""
        ...


def delivers_together(sink: object) -> DeliversTogether | None:
    """The sink, if it has that ability."""
    return sink if isinstance(sink, DeliversTogether) else None
