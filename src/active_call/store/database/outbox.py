"""Delivers closed records to their sink (JSON files or a web service), at least once: waiting records are in the database and survive a
restart.

In: rows of `outbox` of this node, woken by the writer. Out: deliveries. A busy sink is retried after a growing pause. If it refuses, or was
busy for `GIVE_UP_AFTER_S`, the row becomes a dead letter, which `/health` shows and the next start retries once.

    waiting ── taken ──> (deleted)
       │ └──── busy ───> waiting, later
       └─── refused ───> dead ── next start ──> waiting
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from active_call.base.errors import ActiveCallError
from active_call.base.world import World
from active_call.store.call_record import CallRecord
from active_call.store.database.connection import Database
from active_call.store.database.statements import Connection, Row, assignments, one_of
from active_call.store.sinks import ClosedRecord, DeliversTogether, RecordDelivery, RecordRefused, SinkBusy, delivers_together
from active_call.store.troubles import Troubles

BATCH: Final = 50
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 300.0
GIVE_UP_AFTER_S: Final = 3 * 24 * 3600.0
GIVE_UP_AFTER_ATTEMPTS: Final = 100
"""At least; three days have over 800. Without it, a clock that is set forward would make dead letters of all that waits."""
LOOK_AGAIN_S: Final = 5.0
"""The period without a wake-up, while rows wait."""
LOOK_AT_REST_S: Final = 60.0
"""The same while no row waits: new rows, rows of dead servers and the ends of pauses wake the task."""
PACE_S: Final = 0.25
"""The pause between rounds; a single record is delivered at once."""
PART: Final = "record sink"
_FAILURES: Final = (OSError, ActiveCallError)


class Outbox:
    """See the module. Without a sink there is nothing to deliver."""

    def __init__(
        self, database: Database, node: str, sink: RecordDelivery | None, world: World, troubles: Troubles, logger: logging.Logger
    ) -> None:
        self._database, self._node, self._sink, self._world, self._troubles, self._log = database, node, sink, world, troubles, logger
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._look_again = asyncio.Event()
        """Skip the pause: a caller waits."""
        self._counted_at = float("-inf")
        self._is_stopping = False
        self._taken: set[int] = set()
        """Rows that were delivered and could not be deleted yet."""
        self.n_waiting = 0
        self.n_dead = 0

    def wake(self) -> None:
        """Wake the task because there is a new row."""
        self._idle.clear()
        self._wake.set()

    def stop(self) -> None:
        """Deliver due records, then let `run` return."""
        self._is_stopping = True
        self._look_again.set()
        self._wake.set()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all due records were tried; False if the time runs out first."""
        self.wake()
        self._look_again.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._idle.is_set()

    async def retry_now(self) -> None:
        """Make dead letters and rows waiting for a retry due now, because the configuration may have been corrected."""
        values = {"state": "waiting", "attempts": 0, "due_at": self._world.clock.utc_now()}
        async with self._database.transaction() as connection:
            await connection.execute(f"UPDATE outbox SET {assignments(values)} WHERE node = :node", {**values, "node": self._node})

    async def run(self) -> None:
        """Deliver until `stop`."""
        while True:
            self._wake.clear()
            try:
                n_due = await self._round()
            except _FAILURES as error:
                self._log.warning("outbox of records cannot be read", extra={"error": f"{type(error).__name__}: {error}"[:300]})
                n_due = 0
            if n_due >= BATCH:
                continue
            is_woken = self._wake.is_set()
            if not is_woken:
                self._idle.set()
            if self._is_stopping:
                if is_woken:
                    continue  # rows that were written during this round are due too
                return
            await self._pause()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if self.n_waiting else LOOK_AT_REST_S):
                    await self._wake.wait()

    async def deliver_now(self, record: CallRecord) -> bool:
        """Deliver a record while the database fails; returns whether the sink accepted it."""
        if self._sink is None:
            return False
        try:
            await self._sink.deliver(record.id, record.start_time, record.to_json())
        except (SinkBusy, RecordRefused):
            return False
        return True

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PACE_S):
                await self._look_again.wait()
        self._look_again.clear()

    async def _round(self) -> int:
        """Deliver due rows; returns their number."""
        async with self._database.transaction() as connection:
            due = await self._due(connection) if self._sink is not None else []
            await self._count(connection)
        new = [row for row in due if row["seq"] not in self._taken]
        together = delivers_together(self._sink)
        changes = await (self._deliver_singly(new) if together is None else self._deliver_together(new, together))
        await self._settle([row["seq"] for row in due if row["seq"] in self._taken], changes)
        return len(due) if not changes else 0

    async def _count(self, connection: Connection) -> None:
        now = self._world.clock.now()
        if now - self._counted_at >= LOOK_AGAIN_S / 2:
            self._counted_at = now
            counts = {row["state"]: row["n"] for row in await connection.fetch(_COUNTS, {"node": self._node})}
            self.n_waiting, self.n_dead = counts.get("waiting", 0), counts.get("dead", 0)

    async def _deliver_singly(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Deliver rows; returns what changes for those that were not accepted."""
        changes: list[dict[str, Any]] = []
        for row in rows:
            change = await self._deliver(row)
            if change is not None:
                changes.append({"key": row["seq"], **change})
                if change["state"] == "waiting":
                    break  # the other rows would fail in the same way
        return changes

    async def _deliver_together(self, rows: Sequence[Row], sink: DeliversTogether) -> list[dict[str, Any]]:
        """The same for a sink that stores several records at once."""
        self._taken.update(row["seq"] for row in rows if row["body"] is None)
        whole = [row for row in rows if row["body"] is not None]
        if not whole:
            return []
        n_stored, busy = await sink.deliver_all([ClosedRecord(row["record_id"], row["started_at"], row["body"].encode()) for row in whole])
        self._taken.update(row["seq"] for row in whole[:n_stored])
        if busy is None:
            self._troubles.clear(PART)
            return []
        return [{"key": whole[n_stored]["seq"], **self._try_later(whole[n_stored], str(busy))}]

    async def _deliver(self, row: Row) -> dict[str, Any] | None:
        """The new state of the row, None if the sink accepted its record."""
        if row["body"] is None or self._sink is None:
            self._taken.add(row["seq"])
            return None
        try:
            await self._sink.deliver(row["record_id"], row["started_at"], row["body"].encode())
        except SinkBusy as error:
            return self._try_later(row, str(error))
        except RecordRefused as error:
            self._log.error("record was refused for good", extra={"record_id": row["record_id"], "reason": str(error)})
            return {"state": "dead", "attempts": row["attempts"] + 1, "due_at": row["due_at"], "error": str(error)[:500]}
        self._taken.add(row["seq"])
        self._troubles.clear(PART)
        return None

    def _try_later(self, row: Row, reason: str) -> dict[str, Any]:
        now = self._world.clock.utc_now()
        self._troubles.note(PART, reason)
        is_late = (now - row["created_at"]).total_seconds() > GIVE_UP_AFTER_S and row["attempts"] >= GIVE_UP_AFTER_ATTEMPTS
        is_over = is_late and self._sink is not None and self._sink.gives_up
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(row["attempts"], 20), MAX_PAUSE_S) * self._world.randomness.uniform(0.8, 1.2)
        asyncio.get_running_loop().call_later(pause_s, self.wake)
        return {
            "state": "dead" if is_over else "waiting",
            "attempts": row["attempts"] + 1,
            "due_at": now + timedelta(seconds=pause_s),
            "error": reason[:500],
        }

    async def _settle(self, taken: Sequence[int], changes: Sequence[dict[str, Any]]) -> None:
        if not taken and not changes:
            return
        async with self._database.transaction() as connection:
            if taken:
                condition, values = one_of("seq", taken)
                await connection.execute(f"DELETE FROM outbox WHERE {condition}", values)
            if changes:
                await connection.execute_many(_CHANGE, changes)
        self._taken.difference_update(taken)
        self.n_waiting = max(0, self.n_waiting - len(taken))
        self.n_dead += sum(change["state"] == "dead" for change in changes)

    async def _due(self, connection: Connection) -> Sequence[Row]:
        """Due rows, the oldest first. A pause longer than any rule allows means that the clock was changed."""
        now = self._world.clock.utc_now()
        return await connection.fetch(_DUE, {"node": self._node, "now": now, "late": now + timedelta(seconds=2 * MAX_PAUSE_S)})


_DUE: Final = f"""
    SELECT outbox.*, calls.body, calls.started_at FROM outbox JOIN calls ON calls.id = outbox.record_id
    WHERE outbox.node = :node AND outbox.state = 'waiting' AND (outbox.due_at <= :now OR outbox.due_at > :late)
    ORDER BY outbox.due_at, outbox.seq LIMIT {BATCH}
"""
_COUNTS: Final = "SELECT state, count(*) AS n FROM outbox WHERE node = :node GROUP BY state"
_CHANGE: Final = f"UPDATE outbox SET {assignments(('state', 'attempts', 'due_at', 'error'))} WHERE seq = :key"
