"""The interfaces for call records: where they are written, where they are queried, and the query.

A call reports three things: its beginning, its changes, and its record. None of them waits for a disk or a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.store.call_record import CallRecord as CallRecord
from active_call.store.call_record import OpenCall as OpenCall
from active_call.store.call_record import QualitySample as QualitySample
from active_call.store.call_record import RecordSummary as RecordSummary
from active_call.store.call_record import SipMessageLine as SipMessageLine
from active_call.store.call_record import TranscriptLine as TranscriptLine


class RecordsUnavailable(ActiveCallError):
    """The records cannot be read now."""

    code = "records_unavailable"


class RecordSink(Protocol):
    """Accepts the records of calls. Nothing here blocks or raises. Accepted data is not lost; failures appear in `/health`."""

    def begin(self, call: OpenCall) -> None:
        """A call has begun: from now on it gets a record, even if this process dies."""
        ...

    def update(self, call: OpenCall) -> None:
        """A call in progress has changed: it rings, it is answered, a playbook runs."""
        ...

    def write(self, record: CallRecord) -> None:
        """A call has ended: close its record. A call without `begin` is written at once."""
        ...


class RecordQuery(Struct, frozen=True):
    """Which records, and how many. Empty and None: any. Times are aware."""

    limit: int = 50
    offset: int = 0
    before: tuple[datetime, int] | None = None
    """Continue after an earlier page: the value of its `more`."""
    caller: str = ""
    """Part of the caller's address."""
    callee: str = ""
    """Part of the callee's address."""
    direction: str = ""
    status: str = ""
    trunk: str = ""
    playbook: str = ""
    since: datetime | None = None
    """Calls that began at this time or later."""
    until: datetime | None = None
    """Calls that began before this time."""
    min_duration_s: float | None = None
    text: str = ""
    """Text anywhere in the summary: addresses, ids, trunk, playbook, reason, error."""


class RecordPage(Struct, frozen=True):
    """Records in their short form, the newest first, as plain JSON values."""

    items: tuple[dict[str, Any], ...]
    total: int
    """The number of matching records on all pages."""
    more: tuple[datetime, int] | None = None
    """Where the next page begins; None on the last one."""


class RecordStore(RecordSink, Protocol):
    """A sink whose records the HTTP API may read."""

    async def list(self, query: RecordQuery) -> RecordPage:
        """Ended calls, the newest first. Raises RecordsUnavailable."""
        ...

    async def get(self, record_id: str) -> dict[str, Any] | None:
        """The record of one call as plain JSON values, or None if there is none. Raises RecordsUnavailable."""
        ...

    def health(self) -> Mapping[str, Any]:
        """The records' part of `/health`."""
        ...
