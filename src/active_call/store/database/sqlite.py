"""SQLite for the loop: each step of a transaction runs in a thread.

Statements enter, fully fetched rows leave. Batches have their own thread, so that reading a long list does not delay the writing of
records. Times are stored as text in UTC, without a zone.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from active_call.store.database.errors import BadValue, DatabaseError, KeyTaken
from active_call.store.database.statements import NONE, Row, Statement, Values

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a process waits for another one that writes to the same file."""
READERS: Final = 4

T = TypeVar("T")


class FileGone(OSError):
    """The file was deleted or replaced while it was open: SQLite would go on writing into what nobody will ever read."""


class Connections:
    """Open connections to the file `path`, for any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection; at the end uncommitted work is rolled back."""
        connection, idle = self.take()
        try:
            yield connection
        finally:
            self.give_back(connection, idle)

    def take(self) -> tuple[sqlite3.Connection, list[sqlite3.Connection]]:
        """A connection, and where it goes back. Raises DatabaseError."""
        with self._lock:
            idle = self._idle
            if idle:
                return idle.pop(), idle
        return self._open(), idle

    def give_back(self, connection: sqlite3.Connection, idle: list[sqlite3.Connection]) -> None:
        """Roll back what was not committed, and keep the connection unless `drop` was called meanwhile."""
        try:
            connection.rollback()
        except sqlite3.Error:
            connection.close()
            return
        with self._lock:
            if idle is self._idle and len(idle) < READERS:
                idle.append(connection)
                return
        connection.close()

    def drop(self) -> None:
        """Close the idle connections, and the others when they are given back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        """WAL: readers do not wait for the writer. `synchronous` NORMAL: a process may die at any time; a crashed machine loses its last
        seconds.
        """
        with translated():
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
            try:
                for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_size_limit=67108864"):
                    connection.execute(f"PRAGMA {pragma}")
            except sqlite3.Error:
                connection.close()
                raise
            return connection


class SqliteConnection:
    """A connection for one transaction. Its steps run in order, also if the caller was cancelled."""

    def __init__(self, connections: Connections, threads: ThreadPoolExecutor, check_file: Callable[[], None]) -> None:
        self._connections = connections
        self._check_file = check_file
        self._threads = threads
        self._lock = threading.Lock()
        self._taken: tuple[sqlite3.Connection, list[sqlite3.Connection]] | None = None

    async def fetch(self, sql: str, values: Values = NONE) -> Sequence[Row]:
        """All rows of the result."""
        return await self._run(partial(_fetch, sql=sql, values=values))

    async def scalar(self, sql: str, values: Values = NONE) -> Any:
        """The first value of the first row, None if there is none."""
        rows = await self.fetch(sql, values)
        return next(iter(rows[0].values())) if rows else None

    async def execute(self, sql: str, values: Values = NONE) -> int:
        """Execute a statement without a result; returns the number of rows that it changed."""
        return await self._run(lambda connection: connection.execute(sql, _stored(values)).rowcount)

    async def execute_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement without a result, once for each of `rows`."""
        await self._run(lambda connection: connection.executemany(sql, map(_stored, rows)))

    async def commit(self) -> None:
        """Commit what was executed."""
        if self._taken is not None:
            await self._run(sqlite3.Connection.commit)

    async def close(self) -> None:
        """Return the connection; uncommitted work is rolled back."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._close)

    async def _run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._step, step)

    def _step(self, step: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, translated():
            if self._taken is None:
                self._check_file()
                self._taken = self._connections.take()
            return step(self._taken[0])

    def _close(self) -> None:
        with self._lock:
            if self._taken is not None:
                self._connections.give_back(*self._taken)


class Sqlite:
    """The file `path`."""

    def __init__(self, path: Path) -> None:
        self.connections = Connections(path)
        self._path = path
        self._file: tuple[int, int] | None = None
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="records-database")
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records-writer")

    def remember_file(self) -> None:
        """The file is open: from now on, no other one may take its place."""
        self._file = _identity(self._path)

    def forget_file(self) -> None:
        """Drop the connections to a file that is gone; the next one opens, or creates, the file that is there."""
        self._file = None
        self.connections.drop()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteConnection]:
        """A connection whose work is committed at the end, or rolled back on an error. Raises FileGone, too."""
        connection = SqliteConnection(self.connections, self._threads, self._check_file)
        try:
            yield connection
            await connection.commit()
        finally:
            await asyncio.shield(asyncio.ensure_future(connection.close()))

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows. Raises FileGone, too."""
        await asyncio.get_running_loop().run_in_executor(self._writing, self._execute_all, statements)

    async def close(self) -> None:
        """Close the connections when running steps have ended; does not wait for that."""
        self._writing.submit(self.connections.drop)
        for threads in (self._writing, self._threads):
            threads.shutdown(wait=False)

    def _check_file(self) -> None:
        if self._file is not None and _identity(self._path) != self._file:
            raise FileGone(f"the file {self._path} was deleted or replaced while it was in use; it is opened anew")

    def _execute_all(self, statements: Sequence[Statement]) -> None:
        self._check_file()
        with self.connections.borrowed() as connection, translated():
            for sql, rows in statements:
                connection.executemany(sql, map(_stored, rows))
            connection.commit()


@contextmanager
def translated() -> Iterator[None]:
    """Raise SQLite's errors as those of `errors`."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise KeyTaken(str(error)) from error
    except sqlite3.DataError as error:
        raise BadValue(str(error)) from error
    except sqlite3.Error as error:
        raise DatabaseError(str(error)) from error


def _fetch(connection: sqlite3.Connection, sql: str, values: Values) -> list[Row]:
    cursor = connection.execute(sql, _stored(values))
    names = [entry[0] for entry in cursor.description]
    times = [name for name in names if name.endswith("_at")]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        for name in times:
            if row[name] is not None:
                row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
    return list(rows)


def _stored(values: Values) -> dict[str, Any]:
    """Parameters as SQLite stores them."""
    return {name: stored_time(value) if isinstance(value, datetime) else value for name, value in values.items()}


def stored_time(time: datetime) -> str:
    """A time as text that sorts like the time."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None if there is none. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
