"""Opens the records database: SQLite in a file (WAL) or PostgreSQL by URL, with the tables of `schema`.

A URL enters; connections leave. An unreachable database raises DatabaseError or OSError; callers retry.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from active_call.store.database.schema import bring_up_to_date
from active_call.store.database.sqlite import FileGone, Sqlite
from active_call.store.database.statements import Connection, Statement
from active_call.store.database.url import DatabaseUrl
from active_call.store.private_files import private_folder


class _Engine(Protocol):
    """SQLite or PostgreSQL."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]: ...

    async def execute_all(self, statements: Sequence[Statement]) -> None: ...

    async def close(self) -> None: ...


class Database:
    """One records database. `transaction` opens and migrates it if needed."""

    def __init__(self, url: DatabaseUrl) -> None:
        self.is_sqlite = url.path is not None
        self._url = url
        self._engine: _Engine = Sqlite(url.path) if url.path is not None else _postgres(url)
        self._is_open = False
        self.generation = 0
        """Counts the files that have served: rows written in an earlier generation are gone."""
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """The URL for the log and `/health`, without a password."""
        return self._url.shown

    @property
    def is_open(self) -> bool:
        """It was reached, and its tables have the current version."""
        return self._is_open

    async def open(self) -> None:
        """Connect and migrate. Raises ConfigError for a database of a newer version. May be called again."""
        async with self._opening:
            if self._is_open:
                return
            if self._url.path is not None:
                await asyncio.to_thread(_prepare_file, self._url.path)
            async with self._engine.transaction() as connection:
                await bring_up_to_date(connection, is_sqlite=self.is_sqlite)
            if isinstance(self._engine, Sqlite):
                await asyncio.to_thread(self._engine.remember_file)
            self._is_open = True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection whose work is committed at the end, or rolled back on an error."""
        await self.open()
        try:
            async with self._engine.transaction() as connection:
                yield connection
        except FileGone:
            await self._begin_anew()
            raise

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows."""
        await self.open()
        try:
            await self._engine.execute_all(statements)
        except FileGone:
            await self._begin_anew()
            raise

    async def _begin_anew(self) -> None:
        """The file is gone: the next statement opens what is there, or creates it."""
        async with self._opening:
            if self._is_open and isinstance(self._engine, Sqlite):
                self._is_open = False
                self.generation += 1
                await asyncio.to_thread(self._engine.forget_file)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.close()


def _postgres(url: DatabaseUrl) -> _Engine:
    from active_call.store.database.postgres import Postgres  # asyncpg is an extra

    return Postgres(url.dsn, url.n_prepared)


def _prepare_file(path: Path) -> None:
    """Create the folder and the file. Only the owner may read it; SQLite's other files get the same mode."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
