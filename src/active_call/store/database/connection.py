"""Opens the records database: SQLite in a file (WAL) or PostgreSQL by URL, migrated by `schema`.

A URL or a path enters; connections to a database with the tables of `tables` leave. An unreachable database raises SQLAlchemy's errors;
callers retry. A URL that can never work raises ConfigError.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from active_call.base.errors import ConfigError
from active_call.store.database.schema import bring_up_to_date
from active_call.store.database.sqlite import FileGone, Sqlite, Statement
from active_call.store.private_files import private_folder

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 15.0
MIGRATION_LOCK: Final = 0x61637469
"""PostgreSQL's advisory lock for migration, held by one server at a time; an arbitrary number."""
KEY: Final = "callrecord.url"

T = TypeVar("T")

_DRIVERS: Final = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
}


def parse_database_url(text: str, key: str = KEY) -> URL:
    """The URL with its driver. Raises ConfigError under `key`; the message never contains the password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(key, "expected a URL such as postgresql://user:password@host/database or sqlite:///folder/records.db") from error
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigError(key, f"expected postgresql:// or sqlite:///, found {url.drivername}://")
    if driver.startswith("sqlite"):
        if url.database in (None, "", ":memory:"):
            raise ConfigError(key, "a SQLite URL names a file: sqlite:///folder/records.db")
        return url.set(drivername=driver)
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigError(key, "PostgreSQL needs the package asyncpg: pip install 'active-call[postgres]'")
    return _with_ssl(url.set(drivername=driver))


def _with_ssl(url: URL) -> URL:
    """asyncpg's `ssl` corresponds to libpq's `sslmode`."""
    mode = url.query.get("sslmode")
    if mode is None:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode if isinstance(mode, str) else mode[-1]})


class Connection(Protocol):
    """The connection for one transaction, the same for both databases."""

    async def execute(self, statement: sa.Executable, parameters: Any = None, /) -> sa.Result[Any]:
        """Execute one statement, or one for each item if the parameters are a list."""
        ...

    async def scalar(self, statement: sa.Executable, /) -> Any:
        """The first value of the first row."""
        ...

    async def run_sync(self, function: Callable[[sa.Connection], T], /) -> T:
        """Call `function` with a plain connection."""
        ...


class _Engine(Protocol):
    """SQLite or PostgreSQL."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]: ...

    async def execute_all(self, statements: Sequence[Statement]) -> None: ...

    async def close(self) -> None: ...


class Database:
    """One records database. `transaction` opens and migrates it if needed."""

    def __init__(self, url: URL) -> None:
        self.is_sqlite = url.drivername.startswith("sqlite")
        self._url = url
        self._engine: _Engine = Sqlite(url) if self.is_sqlite else _Postgres(url)
        self._is_open = False
        self.generation = 0
        """Counts the files that have served: rows written in an earlier generation are gone."""
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """The URL for the log and `/health`, without a password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def is_open(self) -> bool:
        """It was reached, and its tables have the current version."""
        return self._is_open

    async def open(self) -> None:
        """Connect and migrate. Raises ConfigError for a database of a newer version. May be called again."""
        async with self._opening:
            if self._is_open:
                return
            if self.is_sqlite:
                await asyncio.to_thread(_prepare_file, Path(self._url.database or ""))
            async with self._engine.transaction() as connection:
                await connection.run_sync(self._bring_up_to_date)
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

    def _bring_up_to_date(self, connection: sa.Connection) -> None:
        """Migrate, one server at a time. SQLite includes table changes in a transaction only when told to."""
        if self.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        bring_up_to_date(connection)


class _Postgres:
    """PostgreSQL by asyncpg."""

    def __init__(self, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine  # with the ORM, whose import takes a tenth of a second

        limits = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S}
        self._engine: AsyncEngine = create_async_engine(
            url, pool_size=4, max_overflow=4, pool_use_lifo=True, pool_pre_ping=True, connect_args=limits
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Any error that the driver raises for a server that refuses becomes an OSError: callers retry."""
        try:
            connection = await self._engine.connect()
        except (SQLAlchemyError, OSError):
            raise
        except Exception as error:  # drivers have their own error families, and SQLAlchemy does not wrap all of them
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        try:
            async with connection.begin():
                yield connection
        finally:
            await asyncio.shield(asyncio.ensure_future(connection.close()))

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows."""
        async with self.transaction() as connection:
            for statement, values in statements:
                await connection.execute(statement, values)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()


def _prepare_file(path: Path) -> None:
    """Create the folder and the file. Only the owner may read it; SQLite's other files get the same mode."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
