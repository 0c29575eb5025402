"""Registers the servers that write to the database, and closes calls that a dead server left open.

Each run of a server is a row of `nodes`. A server on the same machine is dead if its slot is free (`slots`); one on another machine is dead
if it was not seen for `LEASE_S`, by the clock of the shared database. The server that deletes a dead node's row closes its calls as
`crashed` and takes over its outbox in the same transaction: so only one server does it, and never for a running one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from active_call.base.world import World
from active_call.store.call_record import crashed_record
from active_call.store.database import rows
from active_call.store.database.connection import Database
from active_call.store.database.statements import Connection, Row, one_of

BEAT_S: Final = 10.0
LEASE_S: Final = 60.0
"""Six beats. A server that loses its database for this long counts as dead; when the database is back, it still writes its own records."""
CHUNK: Final = 500


class Nodes:
    """Our own run, `node`, in the slot `slot`. `on_closed` is called when calls were closed for a dead node."""

    def __init__(
        self,
        database: Database,
        world: World,
        *,
        node: str,
        slot: str,
        freed: Sequence[str],
        has_sink: bool,
        on_closed: Callable[[], object],
        logger: logging.Logger,
    ) -> None:
        self._database, self._world, self._node, self._slot = database, world, node, slot
        self._freed, self._has_sink, self._on_closed, self._log = tuple(freed), has_sink, on_closed, logger
        self.n_closed = 0
        """The number of calls closed for dead nodes."""

    async def beat(self) -> None:
        """Update our row, which shows other servers that we run."""
        now, values = self._now()
        values |= {"node": self._node, "slot": self._slot}
        async with self._database.transaction() as connection:
            if not await connection.execute(f"UPDATE nodes SET seen_at = {now} WHERE node = :node", values):
                await connection.execute(f"INSERT INTO nodes (node, slot, seen_at) VALUES (:node, :slot, {now})", values)

    async def close_calls_of_dead(self) -> int:
        """Close the calls that dead nodes left open; returns their number."""
        if self._database.is_sqlite and not self._freed:
            return 0  # nodes of other machines have no lease here
        async with self._database.transaction() as connection:
            condition, values = self._is_dead()
            dead = [row["node"] for row in await connection.fetch(f"SELECT node FROM nodes WHERE {condition}", values)]
        n_calls = 0
        for node in dead:
            async with self._database.transaction() as connection:
                n_calls += await self._close_calls_of(connection, node)
        self._freed = ()  # a slot that was free may now be taken by another server
        if n_calls:
            self.n_closed += n_calls
            self._log.warning("calls of a server that died were closed", extra={"n_calls": n_calls, "status": "crashed"})
        if dead:
            self._on_closed()
        return n_calls

    async def leave(self) -> None:
        """Remove our row: this server shuts down normally and has no open calls. The next server delivers the rest of the outbox."""
        async with self._database.transaction() as connection:
            values = {"node": self._node}
            n_open = await connection.scalar("SELECT count(*) FROM calls WHERE state = 'open' AND node = :node", values)
            n_waiting = await connection.scalar("SELECT count(*) FROM outbox WHERE node = :node", values)
            if not n_open and not n_waiting:
                await connection.execute("DELETE FROM nodes WHERE node = :node", values)

    async def _close_calls_of(self, connection: Connection, node: str) -> int:
        """Close the calls of one node. The node's row is the lock: the server that deletes it does the work."""
        condition, values = self._is_dead()
        values |= {"dead": node}
        claim = f"DELETE FROM nodes WHERE node = :dead AND {condition} RETURNING seen_at"
        claimed = await connection.fetch(claim, values)
        if not claimed:
            return 0
        n_calls = 0
        while left := await connection.fetch(_OPEN_CALLS, values):
            await self._close(connection, left, claimed[0]["seen_at"])
            n_calls += len(left)
        await connection.execute("UPDATE outbox SET node = :node WHERE node = :dead", values)
        return n_calls

    async def _close(self, connection: Connection, left: Sequence[Row], seen_at: datetime) -> None:
        records = [crashed_record(rows.open_call_of(row), record_id=row["id"], end_time=seen_at) for row in left]
        await connection.execute_many(rows.CLOSE_CALL, [{"key": record.id, **rows.closed_columns(record)} for record in records])
        if self._has_sink:
            now = self._world.clock.utc_now()
            await connection.execute_many(rows.INSERT_OUTBOX, [rows.outbox_columns(record.id, self._node, now) for record in records])

    def _is_dead(self) -> tuple[str, dict[str, Any]]:
        """A condition with its parameters: its slot is free, or, if machines share the database, it was not seen for `LEASE_S`."""
        gone, values = one_of("slot", self._freed)
        if not self._database.is_sqlite:
            gone = f"({gone} OR seen_at < now() - interval '{LEASE_S:.0f} seconds')"
        return f"node <> :node AND {gone}", values | {"node": self._node}

    def _now(self) -> tuple[str, dict[str, Any]]:
        """The current time as SQL with its parameters: the database's own time if several machines share it."""
        return (":now", {"now": self._world.clock.utc_now()}) if self._database.is_sqlite else ("now()", {})


_OPEN_CALLS: Final = f"SELECT * FROM calls WHERE node = :dead AND state = 'open' LIMIT {CHUNK}"
"""Those of the node `dead`."""
