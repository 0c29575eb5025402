"""The tables of the records database, for SQLite and PostgreSQL alike. A change here needs a script in `store/migrations/versions`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.types import TypeDecorator

HEAD_REVISION: Final = "0001"
"""The newest script in `store/migrations/versions`: a database with it needs no migration."""

metadata = MetaData()

_Id = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite assigns row numbers only if the key is an INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite stores it as text without a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


calls = Table(
    "calls",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("session_id", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("state", String(8), nullable=False),  # open, closed
    Column("status", String(16), nullable=False),
    Column("direction", String(16), nullable=False),
    Column("call_type", String(16), nullable=False),
    Column("caller", Text, nullable=False),
    Column("callee", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("trunk", Text, nullable=False),
    Column("playbook", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ringing_at", UtcDateTime),
    Column("answered_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("duration_s", Float, nullable=False),
    Column("hangup_reason", Text, nullable=False),
    Column("hangup_by", Text, nullable=False),
    Column("sip_code", Integer),
    Column("error", Text),
    Column("body", Text),  # JSON: the state of a call in progress, then its whole record
    Index("calls_by_start", "started_at", "seq"),
    Index("calls_by_state", "state", "node"),
    Index("calls_by_session", "session_id"),
)
"""One row for each call: created with its first message, closed once."""

outbox = Table(
    "outbox",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    Column("record_id", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("state", String(8), nullable=False),  # waiting, dead
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("error", Text),
    Index("outbox_by_node", "node", "state", "due_at"),
)
"""Closed records that a sink (JSON files, HTTP) has not accepted yet."""

nodes = Table(
    "nodes",
    metadata,
    Column("node", Text, primary_key=True),
    Column("slot", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
"""The servers that write here, one row for each run of a process; `seen_at` by the database's own clock."""

imports = Table("imports", metadata, Column("source", Text, primary_key=True), Column("finished_at", UtcDateTime, nullable=False))
"""Folders whose earlier records were imported."""
