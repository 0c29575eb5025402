"""Queries over the records: a page of ended calls by filters, and one whole record.

In: a RecordQuery. Out: a RecordPage of plain JSON values. Text matches anywhere in a column, case-insensitively; `%` and `_` are literal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from active_call.store.call_record import RecordSummary
from active_call.store.database.connection import Database
from active_call.store.database.tables import calls
from active_call.store.records import RecordPage, RecordQuery

_SUMMARY: Final = (
    calls.c.seq,
    calls.c.id,
    calls.c.started_at,
    calls.c.duration_s,
    calls.c.status,
    calls.c.direction,
    calls.c.caller,
    calls.c.callee,
)
_SEARCHED: Final = (
    calls.c.id,
    calls.c.caller,
    calls.c.callee,
    calls.c.call_id,
    calls.c.trunk,
    calls.c.playbook,
    calls.c.hangup_reason,
    calls.c.error,
)
"""The columns that `text` searches."""


class RecordQueries:
    """Read-only queries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, query: RecordQuery) -> RecordPage:
        """Ended calls, the newest first."""
        conditions = _conditions(query)
        page = sa.select(*_SUMMARY).where(*conditions)
        if query.before is not None:
            page = page.where(sa.tuple_(calls.c.started_at, calls.c.seq) < sa.tuple_(*_cursor_values(query.before)))
        page = page.order_by(calls.c.started_at.desc(), calls.c.seq.desc()).limit(query.limit + 1).offset(query.offset)
        async with self._database.transaction() as connection:
            total = await connection.scalar(sa.select(sa.func.count()).select_from(calls).where(*conditions))
            found = (await connection.execute(page)).all()
        shown = found[: query.limit]
        more = (shown[-1].started_at, shown[-1].seq) if shown and len(found) > query.limit else None
        return RecordPage(tuple(_summary(row) for row in shown), total or 0, more)

    async def get(self, record_id: str) -> dict[str, Any] | None:
        """The record of one ended call, or None."""
        query = sa.select(calls.c.body).where(calls.c.id == record_id, calls.c.state == "closed")
        async with self._database.transaction() as connection:
            body = await connection.scalar(query)
        return None if body is None else msgspec.json.decode(body, type=dict[str, Any])


def _summary(row: Any) -> dict[str, Any]:
    summary = RecordSummary(
        id=row.id,
        date=row.started_at,
        duration=row.duration_s,
        status=row.status,
        direction=row.direction,
        caller=row.caller,
        callee=row.callee,
    )
    plain: dict[str, Any] = msgspec.to_builtins(summary)
    return plain


def _conditions(query: RecordQuery) -> list[sa.ColumnElement[bool]]:
    found = [calls.c.state == "closed"]
    for column, part in ((calls.c.caller, query.caller), (calls.c.callee, query.callee)):
        if part:
            found.append(column.icontains(part, autoescape=True))
    exact = (
        (calls.c.direction, query.direction),
        (calls.c.status, query.status),
        (calls.c.trunk, query.trunk),
        (calls.c.playbook, query.playbook),
    )
    found += [column == value for column, value in exact if value]
    if query.since is not None:
        found.append(calls.c.started_at >= query.since)
    if query.until is not None:
        found.append(calls.c.started_at < query.until)
    if query.min_duration_s is not None:
        found.append(calls.c.duration_s >= query.min_duration_s)
    if query.text:
        found.append(sa.or_(*(column.icontains(query.text, autoescape=True) for column in _SEARCHED)))
    return found


def _cursor_values(before: tuple[Any, int]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    return sa.literal(before[0], calls.c.started_at.type), sa.literal(before[1], calls.c.seq.type)
