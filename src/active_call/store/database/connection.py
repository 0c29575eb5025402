"""Opens the records database: SQLite in a file (WAL) or PostgreSQL by URL, brought up to date by Alembic.

In: a URL or a path. Out: an engine whose tables are those of `tables`. A database that cannot be reached raises what SQLAlchemy raises;
callers try again. A URL that can never work raises ConfigError.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from active_call.base.errors import ConfigError
from active_call.store.database.tables import HEAD_REVISION
from active_call.store.private_files import private_folder

BUSY_TIMEOUT_MS: Final = 5_000
"""How long one process waits for another that writes to the same SQLite file."""
CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 15.0
MIGRATION_LOCK: Final = 0x61637469
"""PostgreSQL's advisory lock under which one server at a time migrates; any number that nobody else uses."""
MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"
KEY: Final = "callrecord.url"

Statement = tuple[sa.Executable, list[dict[str, Any]]]
"""And its rows."""

_DRIVERS: Final = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


def parse_database_url(text: str, key: str = KEY) -> URL:
    """The URL with the driver that serves it. Raises ConfigError under `key`; the password never appears in it."""
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
    """libpq's `sslmode` is `ssl` for asyncpg."""
    mode = url.query.get("sslmode")
    if mode is None:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode if isinstance(mode, str) else mode[-1]})


class Database:
    """One records database. `transaction` opens and migrates it when that has not been done yet."""

    def __init__(self, url: URL) -> None:
        self.is_sqlite = url.drivername.startswith("sqlite")
        self._url = url
        self._engine = _create_engine(url)
        self._batches = _SqliteBatches(url) if self.is_sqlite else None
        self._is_open = False
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
        """Connect and migrate. Raises ConfigError for a database of a newer version; harmless a second time."""
        async with self._opening:
            if self._is_open:
                return
            if self.is_sqlite:
                await asyncio.to_thread(_prepare_file, Path(self._url.database or ""))
            async with self._connected() as connection:
                await self._lock(connection)
                await connection.run_sync(_migrate)
                await connection.commit()
            self._is_open = True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose work is committed at the end, or undone on an error."""
        await self.open()
        async with self._connected() as connection, connection.begin():
            yield connection

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows."""
        await self.open()
        if self._batches is not None:
            await self._batches.execute_all(statements)
            return
        async with self.transaction() as connection:
            for statement, values in statements:
                await connection.execute(statement, values)

    async def close(self) -> None:
        """Close the connections."""
        if self._batches is not None:
            self._batches.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection from the pool. Whatever a driver says of a server that refuses is an OSError: it may be tried again."""
        try:
            connection = await self._engine.connect()
        except (SQLAlchemyError, OSError):
            raise
        except Exception as error:  # drivers have families of their own, and not all of them reach SQLAlchemy's
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        try:
            yield connection
        finally:
            await asyncio.shield(asyncio.ensure_future(connection.close()))

    async def _lock(self, connection: AsyncConnection) -> None:
        """One server at a time migrates; SQLite takes table changes into a transaction only where it is told to."""
        if self.is_sqlite:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))


class _SqliteBatches:
    """Runs batches on a connection in a thread of its own: one hand-over a batch, where aiosqlite needs two a statement."""

    def __init__(self, url: URL) -> None:
        self._engine = sa.create_engine(url.set(drivername="sqlite"), connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(self._engine, "connect", _set_up_sqlite)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records-database")

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._execute_all, statements)

    def close(self) -> None:
        """Close the connection when what is under way has ended; nobody waits for it."""
        self._thread.submit(self._engine.dispose)
        self._thread.shutdown(wait=False)

    def _execute_all(self, statements: Sequence[Statement]) -> None:
        with self._engine.begin() as connection:
            for statement, values in statements:
                connection.execute(statement, values)


def _create_engine(url: URL) -> AsyncEngine:
    if url.drivername.startswith("sqlite"):
        limits = {"timeout": BUSY_TIMEOUT_MS / 1000}
        # `transaction` ends each piece of work itself; a further rollback would be one more trip to the connection's thread
        engine = create_async_engine(url, pool_size=4, max_overflow=4, pool_use_lifo=True, pool_reset_on_return=None, connect_args=limits)
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        return engine
    limits = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S}
    return create_async_engine(url, pool_size=4, max_overflow=4, pool_use_lifo=True, pool_pre_ping=True, connect_args=limits)


def _set_up_sqlite(connection: Any, _: object) -> None:
    """WAL: readers do not wait for the writer. `synchronous` NORMAL: a process may die at any time, a machine loses its last seconds."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_file(path: Path) -> None:
    """Make the folder and the file. Only the owner may read it; SQLite's other files take its mode."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _migrate(connection: sa.Connection) -> None:
    if sa.inspect(connection).has_table("alembic_version"):
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if found == HEAD_REVISION:
            return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError("callrecord", f"the records database belongs to another version of active-call: {error}") from error
