"""What the records database does while nothing happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from active_call.base.world import World
from active_call.store.database.nodes import Nodes
from active_call.store.database.outbox import LOOK_AGAIN_S, Outbox
from active_call.store.troubles import Troubles
from active_call.testing.virtual_time import run_virtually


class CountingDatabase:
    """Counts transactions. Its outbox has `n_waiting` rows that are not due."""

    def __init__(self, *, is_sqlite: bool = True, n_waiting: int = 0) -> None:
        self.is_sqlite = is_sqlite
        self.n_transactions = 0
        self._counts = [{"state": "waiting", "n": n_waiting}] if n_waiting else []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[CountingDatabase]:
        self.n_transactions += 1
        yield self

    async def fetch(self, sql: str, values: object = None) -> list[dict[str, Any]]:
        return self._counts if "GROUP BY" in sql else []


class Sink:
    """Never called."""

    gives_up = False


def n_rounds_of_outbox(n_waiting: int, minutes: int) -> int:
    async def story() -> int:
        database = CountingDatabase(n_waiting=n_waiting)
        outbox = Outbox(database, "n", Sink(), World(), Troubles(), logging.getLogger("test"))  # type: ignore[arg-type]
        task = asyncio.create_task(outbox.run())
        await asyncio.sleep(minutes * 60)
        n_idle = database.n_transactions
        outbox.wake()
        await asyncio.sleep(1)
        assert database.n_transactions > n_idle  # woken at once
        outbox.stop()
        await task
        return n_idle

    return run_virtually(story())


def test_outbox_in_which_nothing_waits_asks_the_database_once_a_minute() -> None:
    assert n_rounds_of_outbox(0, 10) <= 11


def test_outbox_in_which_records_wait_looks_again() -> None:
    assert n_rounds_of_outbox(3, 1) >= 60 / (LOOK_AGAIN_S + 1)


def nodes_on(database: CountingDatabase, freed: list[str]) -> Nodes:
    return Nodes(
        database,  # type: ignore[arg-type]
        World(),
        node="n",
        slot="s",
        freed=freed,
        has_sink=False,
        on_closed=lambda: None,
        logger=logging.getLogger("test"),
    )


def test_dead_servers_are_looked_for_once_in_a_file_and_always_in_a_shared_database() -> None:
    """A file has no leases: only the slots that were free at the start tell of dead servers."""

    async def story(*, is_sqlite: bool, freed: list[str]) -> int:
        database = CountingDatabase(is_sqlite=is_sqlite)
        nodes = nodes_on(database, freed)
        for _ in range(3):
            assert await nodes.close_calls_of_dead() == 0
        return database.n_transactions

    assert asyncio.run(story(is_sqlite=True, freed=["other"])) == 1
    assert asyncio.run(story(is_sqlite=True, freed=[])) == 0
    assert asyncio.run(story(is_sqlite=False, freed=[])) == 3
