"""The tables of the records database, and how a database gets them: it runs the revisions that it lacks.

A change of the tables is a new entry of `REVISIONS`; published ones are never edited. The number of the newest one that was run is in the
table `alembic_version`: up to version 0.1.0 Alembic ran the revisions, and its databases are still used.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.store.database.statements import Connection

VERSIONS: Final = "alembic_version"
MIGRATION_LOCK: Final = 0x61637469
"""PostgreSQL's advisory lock for migration, held by one server at a time; an arbitrary number."""


class Revision(Struct, frozen=True):
    """A step from the tables of the one before. `{id}` is a key that the database numbers, `{time}` an instant (SQLite: text in UTC)."""

    number: str
    statements: tuple[str, ...]


REVISIONS: Final = (
    Revision(
        "0001",
        (
            """
            CREATE TABLE calls (
                seq {id} NOT NULL,
                id TEXT NOT NULL,
                session_id TEXT NOT NULL,
                node TEXT NOT NULL,
                state VARCHAR(8) NOT NULL,
                status VARCHAR(16) NOT NULL,
                direction VARCHAR(16) NOT NULL,
                call_type VARCHAR(16) NOT NULL,
                caller TEXT NOT NULL,
                callee TEXT NOT NULL,
                call_id TEXT NOT NULL,
                trunk TEXT NOT NULL,
                playbook TEXT NOT NULL,
                started_at {time} NOT NULL,
                ringing_at {time},
                answered_at {time},
                ended_at {time},
                duration_s FLOAT NOT NULL,
                hangup_reason TEXT NOT NULL,
                hangup_by TEXT NOT NULL,
                sip_code INTEGER,
                error TEXT,
                body TEXT,
                PRIMARY KEY (seq),
                UNIQUE (id)
            )
            """,
            "CREATE INDEX calls_by_start ON calls (started_at, seq)",
            "CREATE INDEX calls_by_state ON calls (state, node)",
            "CREATE INDEX calls_by_session ON calls (session_id)",
            """
            CREATE TABLE outbox (
                seq {id} NOT NULL,
                record_id TEXT NOT NULL,
                node TEXT NOT NULL,
                state VARCHAR(8) NOT NULL,
                attempts INTEGER NOT NULL,
                due_at {time} NOT NULL,
                created_at {time} NOT NULL,
                error TEXT,
                PRIMARY KEY (seq)
            )
            """,
            "CREATE INDEX outbox_by_node ON outbox (node, state, due_at)",
            "CREATE TABLE nodes (node TEXT NOT NULL, slot TEXT NOT NULL, seen_at {time} NOT NULL, PRIMARY KEY (node))",
            "CREATE TABLE imports (source TEXT NOT NULL, finished_at {time} NOT NULL, PRIMARY KEY (source))",
        ),
    ),
)
"""What each table is for:

`calls`: a row for each call, created with its first message, closed once. `state` is open or closed; `body` is JSON, the state of a call in
progress, then its whole record. `outbox`: closed records that a sink (JSON files, HTTP) has not accepted yet; `state` is waiting or dead.
`nodes`: the servers that write here, one row for each run of a process; `seen_at` is by the database's own clock. `imports`: folders whose
earlier records were imported.
"""

_SQLITE_TYPES: Final = {"id": "INTEGER", "time": "DATETIME"}
"""SQLite numbers rows only if the key is an INTEGER."""
_POSTGRES_TYPES: Final = {"id": "BIGSERIAL", "time": "TIMESTAMP WITH TIME ZONE"}
_HAS_VERSIONS: Final = {
    True: f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{VERSIONS}'",
    False: f"SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = '{VERSIONS}'",
}
_CREATE_VERSIONS: Final = (
    f"CREATE TABLE {VERSIONS} (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


async def bring_up_to_date(connection: Connection, *, is_sqlite: bool) -> None:
    """Run the missing revisions in the transaction of `connection`, one server at a time. Raises ConfigError for a database of a newer
    version, and DatabaseError for tables without a version.
    """
    await connection.execute("BEGIN IMMEDIATE" if is_sqlite else f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    numbers = [revision.number for revision in REVISIONS]
    if not await connection.scalar(_HAS_VERSIONS[is_sqlite]):
        await connection.execute(_CREATE_VERSIONS)
    current = await connection.scalar(f"SELECT version_num FROM {VERSIONS}")
    if current is not None and current not in numbers:
        raise ConfigError("callrecord", f"the records database belongs to another version of active-call: it has revision {current}")
    types = _SQLITE_TYPES if is_sqlite else _POSTGRES_TYPES
    missing = REVISIONS[numbers.index(current) + 1 :] if current is not None else REVISIONS
    for revision in missing:
        for statement in revision.statements:
            await connection.execute(statement.format_map(types))
    if missing:
        await connection.execute(f"DELETE FROM {VERSIONS}")
        await connection.execute(f"INSERT INTO {VERSIONS} (version_num) VALUES (:number)", {"number": missing[-1].number})
