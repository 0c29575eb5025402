"""The store of call records: a database with one writer, an outbox for the sink, and the closing of dead servers' calls.

Order of start: slot, database, the spools of dead processes, calls of dead servers, outbox, import. The server takes calls even if the
database is unreachable: records wait, `/health` shows it, and the start completes when the database is back. Order of stop: writer, outbox,
database, slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from active_call.base.errors import ConfigError
from active_call.base.world import World
from active_call.store.call_record import CallRecord, OpenCall, crashed_record
from active_call.store.database.connection import Database
from active_call.store.database.errors import DatabaseError
from active_call.store.database.importing import import_folder
from active_call.store.database.journal import Journal, open_journal, remove_journal
from active_call.store.database.nodes import BEAT_S, Nodes
from active_call.store.database.outbox import Outbox
from active_call.store.database.queries import RecordQueries
from active_call.store.database.slots import Slot, take_slot
from active_call.store.database.spool import SUFFIX, Spool, read_spool
from active_call.store.database.url import DatabaseUrl
from active_call.store.database.writer import PART, RecordWriter
from active_call.store.records import RecordPage, RecordQuery, RecordsUnavailable
from active_call.store.sinks import RecordDelivery
from active_call.store.troubles import Troubles

START_S: Final = 10.0
"""How long a start waits for the database; then it continues without."""
CLOSE_S: Final = 10.0
READ_WAITS_S: Final = 0.5
"""How long a query waits for earlier writes, so that a call that has ended is in the list at once."""
_FAILURES: Final = (DatabaseError, OSError, TimeoutError)


class DatabaseRecords:
    """See the module. `folder` holds slots, spools, and records from before; `sink` is closed with this store."""

    def __init__(
        self,
        url: DatabaseUrl,
        folder: Path,
        world: World,
        troubles: Troubles,
        *,
        sink: RecordDelivery | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._folder, self._world, self._troubles, self._sink = folder, world, troubles, sink
        self._log = logger or logging.getLogger("active_call.records")
        self._node = world.randomness.uuid()
        self._database = Database(url)
        self._outbox = Outbox(self._database, self._node, sink, world, troubles, self._log)
        self._queries = RecordQueries(self._database)
        self._spool = Spool(folder / f"{self._node}{SUFFIX}", self._log)  # replaced by our slot's name when we have one
        self._writer = RecordWriter(
            self._database,
            self._node,
            self._spool,
            world,
            troubles,
            has_sink=sink is not None,
            on_closed=self._outbox.wake,
            deliver=self._outbox.deliver_now,
            logger=self._log,
        )
        self._slot: Slot | None = None
        self._left: Sequence[OpenCall] = ()
        """Calls that had just begun when their server died."""
        self._nodes: Nodes | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._import_task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._is_complete = False
        """The takeover from dead servers is complete: the start is finished."""

    # -- from calls

    def begin(self, call: OpenCall) -> None:
        """Record the beginning of a call."""
        self._writer.begin(call)

    def update(self, call: OpenCall) -> None:
        """Record a change of a call in progress."""
        self._writer.update(call)

    def write(self, record: CallRecord) -> None:
        """Record the end of a call."""
        self._writer.write(record)

    # -- queries

    async def list(self, query: RecordQuery) -> RecordPage:
        """Ended calls, the newest first. Raises RecordsUnavailable."""
        await self._writer.flush(READ_WAITS_S)
        try:
            return await self._queries.list(query)
        except _FAILURES as error:
            raise RecordsUnavailable("the records database does not answer") from error

    async def get(self, record_id: str) -> dict[str, Any] | None:
        """The record of one call, or None. Raises RecordsUnavailable."""
        await self._writer.flush(READ_WAITS_S)
        try:
            return await self._queries.get(record_id)
        except _FAILURES as error:
            raise RecordsUnavailable("the records database does not answer") from error

    def health(self) -> Mapping[str, Any]:
        """The records' part of `/health`."""
        stuck_s = self._writer.stuck_s
        if stuck_s:
            self._troubles.note(PART, f"the records database has not answered for {stuck_s:.0f} s")
        closed_by_us = self._nodes.n_closed if self._nodes is not None else 0
        return {
            "database": "sqlite" if self._database.is_sqlite else "postgresql",
            "open": self._database.is_open,
            "waiting": self._writer.n_waiting,
            "outbox": self._outbox.n_waiting,
            "dead_letters": self._outbox.n_dead,
            "lost": self._writer.n_lost,
            "crashed_closed": closed_by_us,
        }

    # -- lifecycle

    async def start(self) -> None:
        """Open the database and take over the data of dead servers; waits at most `START_S`. Raises ConfigError."""
        try:
            self._slot = await asyncio.to_thread(take_slot, self._folder, self._world.randomness.uuid())
            self._writer.journal, self._left = await asyncio.to_thread(self._open_journals, self._slot)
            self._spool.path = self._slot.path.with_name(f"{self._slot.path.name}.{self._node}{SUFFIX}")
        except OSError as error:
            self._troubles.note("records folder", f"{self._folder} cannot be written: {error.strerror or error}")
        self._nodes = Nodes(
            self._database,
            self._world,
            node=self._node,
            slot=self._slot.name if self._slot is not None else self._node,
            freed=self._slot.freed if self._slot is not None else (),
            has_sink=self._sink is not None,
            on_closed=self._outbox.wake,
            logger=self._log,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self._complete(self._nodes)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._writer.run(), name="records writer"),
            loop.create_task(self._outbox.run(), name="records outbox"),
            loop.create_task(self._keep(self._nodes), name="records node"),
        ]

    async def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Wait until all earlier writes are in the database, and due deliveries are at the sink. False if the time runs out first."""
        return await self._writer.flush(timeout_s) and await self._outbox.flush(timeout_s)

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write and deliver everything within `timeout_s`; the rest waits on disk for the next start."""
        self._closing.set()
        self._writer.stop()
        writer, outbox, keeper = self._tasks or (None, None, None)
        for task in (keeper, self._import_task):
            if task is not None:
                await _ended(task, 2.0)
        if writer is not None:
            await _ended(writer, timeout_s / 2)
        await self._writer.abandon()
        self._outbox.stop()
        if outbox is not None:
            await _ended(outbox, timeout_s / 2)
        with contextlib.suppress(*_FAILURES, ConfigError):
            async with asyncio.timeout(2.0):
                if self._nodes is not None and self._database.is_open:
                    await self._nodes.leave()
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(2.0):
                await self._database.close()
        if self._sink is not None:
            await self._sink.close()
        self._writer.journal.close()
        if self._slot is not None:
            if not self._writer.n_waiting and not self._left:
                await asyncio.to_thread(remove_journal, self._slot.name)
            self._slot.release()

    async def _complete(self, nodes: Nodes) -> None:
        """Complete the start: reach the database, take over the data of dead servers. Raises ConfigError; failures are noted."""
        try:
            await self._database.open()
            await nodes.beat()
            await self._take_over_spools()
            await self._take_over_journals()
            await nodes.close_calls_of_dead()
            await self._outbox.retry_now()
        except _FAILURES as error:
            cause = error.__cause__ or error
            self._troubles.note(PART, f"{self._database.name} cannot be used: {type(cause).__name__}: {cause}"[:400])
            return
        if self._slot is not None:
            self._slot.release_freed()
        self._is_complete = True
        self._troubles.clear(PART)
        self._import_task = asyncio.get_running_loop().create_task(self._import(), name="records import")

    async def _take_over_spools(self) -> None:
        """Write the spools of dead processes to the database, then delete their files."""
        if self._slot is None:
            return
        stems = [f"{path.name}.*{SUFFIX}" for path in self._slot.freed_paths]
        paths = await asyncio.to_thread(lambda: [path for stem in stems for path in sorted(self._folder.glob(stem))])
        for path in paths:
            if path == self._spool.path:
                continue
            alive, records = await asyncio.to_thread(read_spool, path, self._log)
            now = self._world.clock.utc_now()
            await self._writer.write_now(records)
            await self._writer.refresh(alive)
            await self._writer.write_missing([crashed_record(call, record_id="", end_time=now) for call in alive])
            await asyncio.to_thread(path.unlink, missing_ok=True)
            self._log.warning("records of a server that died were taken over from its spool", extra={"n_records": len(records)})

    def _open_journals(self, slot: Slot) -> tuple[Journal, Sequence[OpenCall]]:
        """Open our own journal; returns the calls that are left in it and in the journals we took over. Blocks."""
        journal, left = open_journal(slot.name, self._log)
        for name in slot.freed[1:]:
            other, more = open_journal(name, self._log)
            other.close()
            remove_journal(name)
            left = [*left, *more]
        return journal, left

    async def _take_over_journals(self) -> None:
        """Take over calls that neither database nor spool has: their server died within milliseconds of their beginning."""
        now = self._world.clock.utc_now()
        await self._writer.refresh(self._left)
        n_calls = await self._writer.write_missing([crashed_record(call, record_id="", end_time=now) for call in self._left])
        self._left = ()
        if n_calls:
            self._log.warning("calls that had just begun when their server died were closed", extra={"n_calls": n_calls})

    async def _import(self) -> None:
        try:
            await import_folder(self._database, self._folder, self._node, self._world, self._log, self._closing.is_set)
        except _FAILURES as error:
            self._log.warning(
                "records of the folder could not all be taken over; the next start goes on", extra={"error": str(error)[:300]}
            )

    async def _keep(self, nodes: Nodes) -> None:
        """Update our row, look for dead servers, and complete the start."""
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._closing.wait()
                    return
            if not self._is_complete:
                with contextlib.suppress(ConfigError):
                    await self._complete(nodes)
                continue
            with contextlib.suppress(*_FAILURES):
                await nodes.beat()
                await nodes.close_calls_of_dead()


async def _ended(task: asyncio.Task[Any], within_s: float) -> None:
    """Wait for the task, and cancel it when the time is over."""
    await asyncio.wait([task], timeout=within_s)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
