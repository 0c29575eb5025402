"""SQLite for the loop: each step of a transaction runs in a thread, over SQLAlchemy's synchronous connections.

Statements enter, fully fetched rows leave. Batches have their own thread, so that reading a long list does not delay the writing of
records. SQLAlchemy's asyncio support needs two thread switches for each step and imports its ORM, which is not used here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a process waits for another one that writes to the same file."""
READERS: Final = 4

Statement = tuple[sa.Executable, list[dict[str, Any]]]
"""Including its rows."""
T = TypeVar("T")


class FileGone(OSError):
    """The file was deleted or replaced while it was open: SQLite would go on writing into what nobody will ever read."""


class SqliteConnection:
    """A connection for one transaction. Its steps run in order, also if the caller was cancelled."""

    def __init__(self, engine: sa.Engine, threads: ThreadPoolExecutor, check_file: Callable[[], None]) -> None:
        self._engine = engine
        self._check_file = check_file
        self._threads = threads
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.Result[Any]:
        """Execute one statement; all rows of its result are fetched. Raises SQLAlchemyError."""
        return await self.run_sync(lambda connection: _execute(connection, statement, parameters))

    async def scalar(self, statement: sa.Executable) -> Any:
        """The first value of the first row, None if there is none. Raises SQLAlchemyError."""
        return await self.run_sync(lambda connection: connection.scalar(statement))

    async def run_sync(self, function: Callable[[sa.Connection], T]) -> T:
        """Call `function` in a thread, with the connection opened for it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._step, function)

    async def close(self) -> None:
        """Return the connection; uncommitted work is rolled back."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._close)

    def _step(self, function: Callable[[sa.Connection], T]) -> T:
        with self._lock:
            if self._connection is None:
                self._check_file()
                self._connection = self._engine.connect()
            return function(self._connection)

    def _close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()


class Sqlite:
    """The file of `url`."""

    def __init__(self, url: URL) -> None:
        self._engine = sa.create_engine(
            url.set(drivername="sqlite"),
            pool_size=READERS,
            max_overflow=READERS,
            pool_use_lifo=True,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
        )
        event.listen(self._engine, "connect", _set_up)
        self._path = Path(url.database or "")
        self._file: tuple[int, int] | None = None
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="records-database")
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records-writer")

    def remember_file(self) -> None:
        """The file is open: from now on, no other one may take its place."""
        self._file = _identity(self._path)

    def forget_file(self) -> None:
        """Drop the connections to a file that is gone; the next one opens, or creates, the file that is there."""
        self._file = None
        self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteConnection]:
        """A connection whose work is committed at the end, or rolled back on an error. Raises FileGone, too."""
        connection = SqliteConnection(self._engine, self._threads, self._check_file)
        try:
            yield connection
            await connection.run_sync(sa.Connection.commit)
        finally:
            await asyncio.shield(asyncio.ensure_future(connection.close()))

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows. Raises FileGone, too."""
        await asyncio.get_running_loop().run_in_executor(self._writing, self._execute_all, statements)

    async def close(self) -> None:
        """Close the connections when running steps have ended; does not wait for that."""
        self._writing.submit(self._engine.dispose)
        for threads in (self._writing, self._threads):
            threads.shutdown(wait=False)

    def _check_file(self) -> None:
        if self._file is not None and _identity(self._path) != self._file:
            raise FileGone(f"the file {self._path} was deleted or replaced while it was in use; it is opened anew")

    def _execute_all(self, statements: Sequence[Statement]) -> None:
        self._check_file()
        with self._engine.begin() as connection:
            for statement, values in statements:
                connection.execute(statement, values)


def _execute(connection: sa.Connection, statement: sa.Executable, parameters: Any) -> sa.Result[Any]:
    result = connection.execute(statement, parameters)
    return result.freeze()() if result.returns_rows else result


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None if there is none. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _set_up(connection: Any, _: object) -> None:
    """WAL: readers do not wait for the writer. `synchronous` NORMAL: a process may die at any time; a crashed machine loses its last
    seconds.
    """
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
