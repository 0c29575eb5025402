"""Queries over the records: a page of ended calls by filters, and one whole record.

In: a RecordQuery. Out: a RecordPage of plain JSON values. Text matches anywhere in a column, case-insensitively; `%` and `_` are literal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from active_call.store.call_record import RecordSummary
from active_call.store.database.connection import Database
from active_call.store.database.statements import Row
from active_call.store.records import RecordPage, RecordQuery

_SUMMARY: Final = "seq, id, started_at, duration_s, status, direction, caller, callee"
_SEARCHED: Final = ("id", "caller", "callee", "call_id", "trunk", "playbook", "hangup_reason", "error")
"""The columns that `text` searches."""
_ORDER: Final = "ORDER BY started_at DESC, seq DESC LIMIT :limit OFFSET :offset"


class RecordQueries:
    """Read-only queries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, query: RecordQuery) -> RecordPage:
        """Ended calls, the newest first."""
        condition, values = _condition(query)
        values |= {"limit": query.limit + 1, "offset": query.offset}
        after = ""
        if query.before is not None:
            after = " AND (started_at, seq) < (:before_at, :before_seq)"
            values |= {"before_at": query.before[0], "before_seq": query.before[1]}
        async with self._database.transaction() as connection:
            total = await connection.scalar(f"SELECT count(*) FROM calls WHERE {condition}", values)
            found = await connection.fetch(f"SELECT {_SUMMARY} FROM calls WHERE {condition}{after} {_ORDER}", values)
        shown = found[: query.limit]
        more = (shown[-1]["started_at"], shown[-1]["seq"]) if shown and len(found) > query.limit else None
        return RecordPage(tuple(_summary(row) for row in shown), total or 0, more)

    async def get(self, record_id: str) -> dict[str, Any] | None:
        """The record of one ended call, or None."""
        async with self._database.transaction() as connection:
            body = await connection.scalar("SELECT body FROM calls WHERE id = :id AND state = 'closed'", {"id": record_id})
        return None if body is None else msgspec.json.decode(body, type=dict[str, Any])


def _summary(row: Row) -> dict[str, Any]:
    summary = RecordSummary(
        id=row["id"],
        date=row["started_at"],
        duration=row["duration_s"],
        status=row["status"],
        direction=row["direction"],
        caller=row["caller"],
        callee=row["callee"],
    )
    plain: dict[str, Any] = msgspec.to_builtins(summary)
    return plain


def _condition(query: RecordQuery) -> tuple[str, dict[str, Any]]:
    """What the query asks for, as SQL with its parameters."""
    found, values = ["state = 'closed'"], dict[str, Any]()
    for column, part in (("caller", query.caller), ("callee", query.callee)):
        if part:
            found.append(_contains(column, column))
            values[column] = _pattern(part)
    exact = {"direction": query.direction, "status": query.status, "trunk": query.trunk, "playbook": query.playbook}
    for column, value in exact.items():
        if value:
            found.append(f"{column} = :{column}")
            values[column] = value
    bounds = (("started_at >= :since", query.since), ("started_at < :until", query.until), ("duration_s >= :least_s", query.min_duration_s))
    for condition, bound in bounds:
        if bound is not None:
            found.append(condition)
            values[condition.rpartition(":")[2]] = bound
    if query.text:
        found.append(f"({' OR '.join(_contains(column, 'text') for column in _SEARCHED)})")
        values["text"] = _pattern(query.text)
    return " AND ".join(found), values


def _contains(column: str, parameter: str) -> str:
    return f"lower({column}) LIKE lower(CAST(:{parameter} AS TEXT)) ESCAPE '/'"


def _pattern(part: str) -> str:
    """`part` anywhere, for LIKE."""
    escaped = part.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return f"%{escaped}%"
