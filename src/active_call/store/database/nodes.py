"""Registers the servers that write to the database, and closes calls that a dead server left open.

Each run of a server is a row of `nodes`. A server on the same machine is dead if its slot is free (`slots`); one on another machine is dead
if it was not seen for `LEASE_S`, by the clock of the shared database. The server that deletes a dead node's row closes its calls as
`crashed` and takes over its outbox in the same transaction: so only one server does it, and never for a running one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa

from active_call.base.world import World
from active_call.store.call_record import crashed_record
from active_call.store.database import rows
from active_call.store.database.connection import Connection, Database
from active_call.store.database.tables import calls, nodes, outbox

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
        now = self._now()
        async with self._database.transaction() as connection:
            seen = await connection.execute(sa.update(nodes).where(nodes.c.node == self._node).values(seen_at=now))
            if not cast("sa.CursorResult[Any]", seen).rowcount:
                await connection.execute(sa.insert(nodes).values(node=self._node, slot=self._slot, seen_at=now))

    async def close_calls_of_dead(self) -> int:
        """Close the calls that dead nodes left open; returns their number."""
        if self._database.is_sqlite and not self._freed:
            return 0  # nodes of other machines have no lease here
        async with self._database.transaction() as connection:
            dead = (await connection.execute(sa.select(nodes.c.node).where(self._is_dead()))).scalars().all()
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
            n_open = await connection.scalar(
                sa.select(sa.func.count()).select_from(calls).where(calls.c.state == "open", calls.c.node == self._node)
            )
            n_waiting = await connection.scalar(sa.select(sa.func.count()).select_from(outbox).where(outbox.c.node == self._node))
            if not n_open and not n_waiting:
                await connection.execute(sa.delete(nodes).where(nodes.c.node == self._node))

    async def _close_calls_of(self, connection: Connection, node: str) -> int:
        """Close the calls of one node. The node's row is the lock: the server that deletes it does the work."""
        claim = sa.delete(nodes).where(nodes.c.node == node, self._is_dead()).returning(nodes.c.seen_at)
        seen_at = (await connection.execute(claim)).scalar()
        if seen_at is None:
            return 0
        n_calls = 0
        while left := (await connection.execute(_open_calls_of(node))).all():
            await self._close(connection, left, seen_at)
            n_calls += len(left)
        await connection.execute(sa.update(outbox).where(outbox.c.node == node).values(node=self._node))
        return n_calls

    async def _close(self, connection: Connection, left: Sequence[sa.Row[Any]], seen_at: datetime) -> None:
        records = [crashed_record(rows.open_call_of(row), record_id=row.id, end_time=seen_at) for row in left]
        await connection.execute(rows.CLOSE_CALL, [{"key": record.id, **rows.closed_columns(record)} for record in records])
        if self._has_sink:
            now = self._world.clock.utc_now()
            await connection.execute(rows.INSERT_OUTBOX, [rows.outbox_columns(record.id, self._node, now) for record in records])

    def _is_dead(self) -> sa.ColumnElement[bool]:
        """Its slot is free, or, if machines share the database, it was not seen for `LEASE_S`."""
        is_ours = nodes.c.slot.in_(self._freed)
        gone = is_ours if self._database.is_sqlite else sa.or_(is_ours, nodes.c.seen_at < self._now() - timedelta(seconds=LEASE_S))
        return sa.and_(nodes.c.node != self._node, gone)

    def _now(self) -> Any:
        """The database's time if several machines share it."""
        return self._world.clock.utc_now() if self._database.is_sqlite else sa.func.now()


def _open_calls_of(node: str) -> sa.Select[Any]:
    return sa.select(calls).where(calls.c.node == node, calls.c.state == "open").limit(CHUNK)
