"""The interfaces for call records: where they are written, where they are queried, and the query.

A call says three things: that it has begun, what has changed, and its record. None of them waits for a disk or a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

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
    """Takes the records of calls. Nothing here blocks or raises; what was accepted is not lost, failures are told in `/health`."""

    def begin(self, call: OpenCall) -> None:
        """A call has begun: from now on it has a record, even if this process dies."""
        ...

    def update(self, call: OpenCall) -> None:
        """Something of a call that lives has changed: it rings, it is answered, a playbook has taken it."""
        ...

    def write(self, record: CallRecord) -> None:
        """A call is over: close its record. One that was never begun is written at once."""
        ...


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """Which records, and how many of them. Empty and None: any. Times are aware."""

    limit: int = 50
    offset: int = 0
    before: tuple[datetime, int] | None = None
    """Only what comes after this place of an earlier page: its `more`."""
    caller: str = ""
    """Part of the caller's address."""
    callee: str = ""
    """Part of the callee's address."""
    direction: str = ""
    status: str = ""
    trunk: str = ""
    playbook: str = ""
    since: datetime | None = None
    """Calls that began then or later."""
    until: datetime | None = None
    """Calls that began before."""
    min_duration_s: float | None = None
    text: str = ""
    """Anywhere in the summary: addresses, ids, trunk, playbook, reason, error."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records in their short form, the newest first, as plain JSON values."""

    items: tuple[dict[str, Any], ...]
    total: int
    """How many records the filters let through, on all pages."""
    more: tuple[datetime, int] | None = None
    """Where the next page begins; None on the last one."""


class RecordStore(RecordSink, Protocol):
    """A sink whose records the HTTP API may read."""

    async def list(self, query: RecordQuery) -> RecordPage:
        """Calls that are over, the newest first. Raises RecordsUnavailable."""
        ...

    async def get(self, record_id: str) -> dict[str, Any] | None:
        """The record of one call as plain JSON values, or None when there is none. Raises RecordsUnavailable."""
        ...

    def health(self) -> Mapping[str, Any]:
        """What `/health` shows of the records."""
        ...
