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


class Result(list[Any]):
    """Rows of a query."""

    def all(self) -> list[Any]:
        return list(self)

    def scalars(self) -> Result:
        return self


class CountingDatabase:
    """Counts transactions; its tables are empty."""

    def __init__(self, *, is_sqlite: bool = True) -> None:
        self.is_sqlite = is_sqlite
        self.n_transactions = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[CountingDatabase]:
        self.n_transactions += 1
        yield self

    async def execute(self, statement: object, values: object = None) -> Result:
        return Result()


class Sink:
    """Never called."""

    gives_up = False


def n_rounds_of_outbox(sink: object, minutes: int) -> int:
    async def story() -> int:
        database = CountingDatabase()
        outbox = Outbox(database, "n", sink, World(), Troubles(), logging.getLogger("test"))  # type: ignore[arg-type]
        task = asyncio.create_task(outbox.run())
        await asyncio.sleep(minutes * 60)
        n_idle = database.n_transactions
        outbox.wake()
        await asyncio.sleep(1)
        assert database.n_transactions == n_idle + 1  # woken at once
        outbox.stop()
        await task
        return n_idle

    return run_virtually(story())


def test_outbox_without_a_sink_does_not_ask_the_database_again_until_it_is_woken() -> None:
    assert n_rounds_of_outbox(None, 10) == 1


def test_outbox_with_a_sink_looks_again() -> None:
    assert n_rounds_of_outbox(Sink(), 1) >= 60 / (LOOK_AGAIN_S + 1)


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
            assert await nodes.bury() == 0
        return database.n_transactions

    assert asyncio.run(story(is_sqlite=True, freed=["other"])) == 1
    assert asyncio.run(story(is_sqlite=True, freed=[])) == 0
    assert asyncio.run(story(is_sqlite=False, freed=[])) == 3
