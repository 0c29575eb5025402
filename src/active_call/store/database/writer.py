"""Writes calls to the database in batches, in one task; callers never wait for it.

`begin`, `update` and `write` of each call enter and only add to a queue; rows leave. Within a batch the last state wins, so that a short
call is one INSERT. While the database cannot be written to, changes are kept in memory (bounded) and in a spool file and are retried;
`troubles` reports it. A row that the database can never accept is logged in full, and counted.

    queued ── batch ──> committed            (a call's entry is dropped when it is closed)
       └──── failed ──> kept, spooled ── again ──> committed, spool emptied
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.base.world import World
from active_call.store.call_record import CallRecord, OpenCall
from active_call.store.database import rows
from active_call.store.database.connection import Database
from active_call.store.database.errors import BadValue, DatabaseError, KeyTaken
from active_call.store.database.journal import Journal
from active_call.store.database.spool import Spool
from active_call.store.database.sqlite import FileGone
from active_call.store.database.statements import one_of
from active_call.store.troubles import Troubles

MAX_QUEUED: Final = 20_000
"""How many changes wait for a database that does not accept them: about 100 MB of records at worst."""
MAX_BATCH: Final = 500
PACE_S: Final = 0.03
"""The pause after a batch, per change in it: a single call is written at once."""
MAX_PACE_S: Final = 0.25
"""The maximum pause: a hundred calls a second take four transactions a second, each in a thread. `flush` ends the pause for readers."""
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
STUCK_AFTER_S: Final = 10.0
"""A batch that takes longer is logged; it continues."""
PART: Final = "records"


@dataclass(slots=True, eq=False)
class Entry:
    """One call's row. `written_in`: the generation of the database that has it; while that serves, later changes are updates."""

    record_id: str
    session_id: str
    started_at: datetime
    written_in: int | None = None
    cell: int | None = None
    """The cell that holds it in the journal until the database does."""
    noted: OpenCall | None = None
    """The content of that cell."""


class Change(Struct, frozen=True, eq=False):
    """A change of one call: its state while in progress, or its record, which closes it."""

    entry: Entry
    what: OpenCall | CallRecord


class RecordWriter:
    """See the module. `node` is this run of the server. `has_sink` also puts each closed record into the outbox; `on_closed` is then
    called.

    `deliver` delivers a record while the database fails; it returns whether the sink accepted it.
    """

    def __init__(
        self,
        database: Database,
        node: str,
        spool: Spool,
        world: World,
        troubles: Troubles,
        *,
        has_sink: bool,
        on_closed: Callable[[], object],
        deliver: Callable[[CallRecord], Awaitable[bool]],
        logger: logging.Logger,
    ) -> None:
        self._database, self._node, self._spool, self._world, self._troubles = database, node, spool, world, troubles
        self.journal = Journal(None)
        """Replaced by our slot's spool when we have one."""
        self._has_sink, self._on_closed, self._deliver, self._log = has_sink, on_closed, deliver, logger
        self._queue: list[Change] = []
        self._in_hand: Sequence[Change] = ()
        self._entries: dict[str, Entry] = {}
        self._delivered: set[Entry] = set()
        """Closed calls whose record was given to the sink already."""
        self._wake = asyncio.Event()
        self._is_wanted = asyncio.Event()
        """Set if a task waits for the changes queued so far, or if the writer must stop."""
        self._progress = asyncio.Event()
        """Replaced with each completed batch."""
        self._n_put = 0
        self._n_settled = 0
        self._is_stopping = False
        self._batch_since: float | None = None
        self.n_lost = 0
        self.n_closed = 0

    @property
    def n_waiting(self) -> int:
        """Changes that are not in the database yet."""
        return len(self._queue) + len(self._in_hand)

    @property
    def stuck_s(self) -> float:
        """How long the current batch has been waiting for the database; 0 while it answers."""
        took = self._world.clock.now() - self._batch_since if self._batch_since is not None else 0.0
        return took if took >= STUCK_AFTER_S else 0.0

    # -- from calls

    def begin(self, call: OpenCall) -> None:
        """A call has begun."""
        entry = Entry(rows.row_id(call.session_id), call.session_id, call.start_time)
        self._entries[call.session_id] = entry
        self._note(entry, call)
        self._put(Change(entry, call))

    def update(self, call: OpenCall) -> None:
        """A call in progress has changed. Ignored for a call that has not begun, or has ended."""
        entry = self._entries.get(call.session_id)
        if entry is not None:
            self._note(entry, call)
            self._put(Change(entry, call))

    def _note(self, entry: Entry, call: OpenCall) -> None:
        """Write to the journal; the call's earlier cell is freed only afterwards."""
        cell = self.journal.note(call)
        if cell is None:
            return
        if entry.cell is not None:
            self.journal.give_back(entry.cell)
        entry.cell, entry.noted = cell, call

    def write(self, record: CallRecord) -> None:
        """A call has ended."""
        entry = self._entries.pop(record.session_id, None)
        if entry is None:
            entry = Entry(rows.row_id(record.session_id), record.session_id, record.start_time)
        self.n_closed += 1
        self._put(Change(entry, record))

    def _put(self, change: Change) -> None:
        if len(self._queue) >= MAX_QUEUED:
            if isinstance(change.what, CallRecord):
                self._lose(change.what, "too many records wait for the database")
            return
        self._queue.append(change)
        self._n_put += 1
        self._wake.set()

    # -- the task

    async def run(self) -> None:
        """Write until `stop`; returns when everything is written, or, while stopping, when the database has failed once more."""
        n_failures = 0
        while True:
            if not self._queue:
                if self._is_stopping:
                    return
                await self._wake.wait()
            self._wake.clear()
            if not self._queue:
                continue
            self._is_wanted.clear()
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            self._in_hand = batch
            failure = await self._try(batch)
            self._in_hand = ()
            if failure is None:
                n_failures = 0
                self._settled()
                await self._succeeded()
                await self._collect(min(PACE_S * len(batch), MAX_PACE_S))
                continue
            self._queue[:0] = batch
            await self._failed(failure)
            if self._is_stopping:
                return
            await self._pause(RETRY_S[min(n_failures, len(RETRY_S) - 1)])
            n_failures += 1

    async def write_now(self, records: Sequence[CallRecord]) -> None:
        """Write without the queue: records of another process. Raises DatabaseError and OSError."""
        for first in range(0, len(records), MAX_BATCH):
            batch = [Change(Entry(rows.row_id(record.id), record.id, record.start_time), record) for record in records[first:][:MAX_BATCH]]
            failure = await self._try(batch) if batch else None
            if failure is not None:
                raise failure

    async def write_missing(self, records: Sequence[CallRecord]) -> int:
        """As `write_now`, but only calls that the database does not have; returns their number."""
        n_written = 0
        for first in range(0, len(records), MAX_BATCH):
            chunk = records[first:][:MAX_BATCH]
            condition, values = one_of("session_id", [record.session_id for record in chunk])
            query = f"SELECT session_id, started_at FROM calls WHERE {condition}"
            async with self._database.transaction() as connection:
                known = {(row["session_id"], row["started_at"]) for row in await connection.fetch(query, values)}
            missing = [record for record in chunk if (record.session_id, record.start_time) not in known]
            await self.write_now(missing)
            n_written += len(missing)
        return n_written

    async def refresh(self, left: Sequence[OpenCall]) -> None:
        """Write the unwritten state of a dead process's calls; closed calls are not changed."""
        known = {(call.session_id, call.start_time): call for call in left}
        for first in range(0, len(left), MAX_BATCH):
            condition, values = one_of("session_id", [call.session_id for call in left[first:][:MAX_BATCH]])
            query = f"SELECT id, session_id, started_at FROM calls WHERE {condition} AND state = 'open'"
            async with self._database.transaction() as connection:
                found = [(row["id"], known.get((row["session_id"], row["started_at"]))) for row in await connection.fetch(query, values)]
                changes = [{"key": key, **rows.alive_columns(call)} for key, call in found if call is not None]
                if changes:
                    await connection.execute_many(rows.UPDATE_OPEN, changes)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all earlier changes are in the database; False if the time runs out first."""
        wanted = self._n_put
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._n_settled < wanted:
                    self._is_wanted.set()
                    await self._progress.wait()
        return self._n_settled >= wanted

    def stop(self) -> None:
        """Let `run` write the remaining changes and return."""
        self._is_stopping = True
        self._wake.set()
        self._is_wanted.set()

    async def abandon(self) -> None:
        """Write the unwritten changes to the spool, or to the log if that fails as well."""
        left = [*self._in_hand, *self._queue]
        if not left or await self._spool.keep([change.what for change in left]):
            return
        for change in left:
            if isinstance(change.what, CallRecord):
                self._lose(change.what, "neither the database nor the folder of records takes it")

    async def _pause(self, delay_s: float) -> None:
        deadline = self._world.clock.now() + delay_s
        while not self._is_stopping and (left := deadline - self._world.clock.now()) > 0:
            await asyncio.sleep(min(left, 0.2))

    async def _collect(self, delay_s: float) -> None:
        """Wait for more changes, unless a task waits for the queued ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0 if self._is_stopping else delay_s):
                await self._is_wanted.wait()

    async def _try(self, batch: Sequence[Change]) -> Exception | None:
        """Write a batch; returns the reason if it must be retried unchanged."""
        self._batch_since = self._world.clock.now()
        try:
            await self._commit_resolving(batch)
        except (OSError, ActiveCallError, ValueError, TypeError, OverflowError) as error:
            if not _is_about_values(error):
                return error
            return await self._one_by_one(batch)
        finally:
            self._batch_since = None
        return None

    async def _one_by_one(self, batch: Sequence[Change]) -> Exception | None:
        """The database rejects some row of the batch: find it, log it, write the others."""
        for position, change in enumerate(batch):
            try:
                await self._commit_resolving([change])
            except (OSError, ActiveCallError, ValueError, TypeError, OverflowError) as error:
                if not _is_about_values(error):
                    self._queue[:0] = batch[position:]
                    self._wake.set()
                    return None
                if isinstance(change.what, CallRecord):
                    self._lose(change.what, str(error))
        return None

    async def _commit_resolving(self, batch: Sequence[Change]) -> None:
        """Write a batch; ids that are taken are changed first."""
        for _ in range(3):
            try:
                await self._commit(batch)
            except KeyTaken:
                await self._resolve(batch)
                continue
            return
        await self._commit(batch)

    async def _commit(self, batch: Sequence[Change]) -> None:
        latest: dict[Entry, Change] = {change.entry: change for change in batch}
        inserts: list[dict[str, Any]] = []
        updates: list[dict[str, Any]] = []
        closings: list[dict[str, Any]] = []
        to_send: list[dict[str, Any]] = []
        generation = self._database.generation
        for entry, change in latest.items():
            columns, key = _columns(change), entry.record_id
            is_closed = isinstance(change.what, CallRecord)
            if entry.written_in != generation:
                inserts.append({"id": key, "node": self._node, **rows.OPEN_DEFAULTS, **columns})
            else:
                (closings if is_closed else updates).append({"key": key, **columns})
            if is_closed and self._has_sink and entry not in self._delivered:
                to_send.append(rows.outbox_columns(key, self._node, self._world.clock.utc_now()))
        statements = (
            (rows.INSERT_CALL, inserts),
            (rows.UPDATE_OPEN, updates),
            (rows.CLOSE_CALL, closings),
            (rows.INSERT_OUTBOX, to_send),
        )
        await self._database.execute_all([(statement, values) for statement, values in statements if values])
        if self._database.generation != generation:
            raise FileGone("the database has begun a new file meanwhile")
        for entry, change in latest.items():
            entry.written_in = generation
            self._give_back(change)
            self._delivered.discard(entry)
        if to_send:
            self._on_closed()

    async def _resolve(self, batch: Sequence[Change]) -> None:
        """Ids of this batch exist already: either our own rows, if the reply to a commit was lost, or another call's, and ours needs a new
        id.
        """
        generation = self._database.generation
        fresh = {change.entry.record_id: change.entry for change in batch if change.entry.written_in != generation}
        condition, values = one_of("id", fresh)
        async with self._database.transaction() as connection:
            taken = await connection.fetch(f"SELECT id, started_at FROM calls WHERE {condition}", values)
        for row in taken:
            entry = fresh[row["id"]]
            if abs((row["started_at"] - entry.started_at).total_seconds()) < 0.001:
                entry.written_in = generation
            else:
                entry.record_id = f"{rows.row_id(entry.session_id)}~{self._world.randomness.token(4)}"
        seen: Counter[str] = Counter()
        for entry in {change.entry: None for change in batch if change.entry.written_in != generation}:
            seen[entry.record_id] += 1
            if seen[entry.record_id] > 1:  # the same id twice in a batch
                entry.record_id = f"{rows.row_id(entry.session_id)}~{self._world.randomness.token(4)}"

    def _settled(self) -> None:
        """Mark all changes that no longer wait as done."""
        self._n_settled = self._n_put - len(self._queue)
        self._progress.set()
        self._progress = asyncio.Event()

    async def _succeeded(self) -> None:
        self._troubles.clear(PART)
        if not self._queue:
            await self._spool.empty()

    async def _failed(self, failure: Exception) -> None:
        """Report it, spool the waiting changes, and deliver ended calls to the sink."""
        self._troubles.note(PART, f"the records database cannot be written: {_reason(failure)}")
        queued = list(self._queue)
        if await self._spool.keep([change.what for change in queued]):
            for change in queued:
                self._give_back(change)
        for change in queued:
            if isinstance(change.what, CallRecord) and change.entry not in self._delivered:
                if not await self._deliver(rows.with_id(change.what, change.entry.record_id)):
                    return
                self._delivered.add(change.entry)

    def _give_back(self, change: Change) -> None:
        """The change is stored; free the call's cell unless the journal has a newer state."""
        entry = change.entry
        if entry.cell is not None and (entry.noted is change.what or isinstance(change.what, CallRecord)):
            self.journal.give_back(entry.cell)
            entry.cell = entry.noted = None

    def _lose(self, record: CallRecord, reason: str) -> None:
        self.n_lost += 1
        fields = {"session_id": record.session_id, "error": reason, "record": record.to_json().decode()}
        self._log.error("call record could not be written", extra=fields)


def _columns(change: Change) -> dict[str, Any]:
    if isinstance(change.what, CallRecord):
        return rows.closed_columns(rows.with_id(change.what, change.entry.record_id))
    return rows.alive_columns(change.what)


def _is_about_values(error: Exception) -> bool:
    """Whether a value is the cause, not the database or the connection."""
    return isinstance(error, KeyTaken | BadValue | ValueError | TypeError | OverflowError)


def _reason(error: Exception) -> str:
    """One line, with the driver's own words."""
    cause = error.__cause__ if isinstance(error, DatabaseError) and error.__cause__ is not None else error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"[:300]
