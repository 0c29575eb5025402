"""PostgreSQL by asyncpg: at most eight connections, opened when needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import asyncpg

from active_call.store.database.errors import BadValue, DatabaseError, KeyTaken
from active_call.store.database.statements import NONE, Row, Statement, Values, numbered

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 15.0
MAX_CONNECTIONS: Final = 8
CLOSE_S: Final = 1.0
"""How long `close` waits for running statements."""


class PostgresConnection:
    """A connection for one transaction. asyncpg's errors leave it as they are; `Postgres.transaction` translates them."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, values: Values = NONE) -> Sequence[Row]:
        """All rows of the result."""
        text, names = numbered(sql)
        rows: Sequence[Row] = await self._connection.fetch(text, *(values[name] for name in names))
        return rows

    async def scalar(self, sql: str, values: Values = NONE) -> Any:
        """The first value of the first row, None if there is none."""
        text, names = numbered(sql)
        return await self._connection.fetchval(text, *(values[name] for name in names))

    async def execute(self, sql: str, values: Values = NONE) -> int:
        """Execute a statement without a result; returns the number of rows that it changed."""
        text, names = numbered(sql)
        status: str = await self._connection.execute(text, *(values[name] for name in names))
        count = status.rpartition(" ")[2]  # such as "UPDATE 3"
        return int(count) if count.isdigit() else 0

    async def execute_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement without a result, once for each of `rows`."""
        text, names = numbered(sql)
        await self._connection.executemany(text, [[row[name] for name in names] for row in rows])


class Postgres:
    """The database at `dsn`. A connection keeps `n_prepared` statements prepared; None: asyncpg's default."""

    def __init__(self, dsn: str, n_prepared: int | None = None) -> None:
        self._dsn = dsn
        self._n_prepared = n_prepared
        self._pool: Any = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresConnection]:
        """A connection whose work is committed at the end, or rolled back on an error.

        Any error that the driver raises for a server that refuses becomes an OSError: callers retry.
        """
        try:
            pool = await self._opened()
            connection = await pool.acquire(timeout=CONNECT_TIMEOUT_S + STATEMENT_TIMEOUT_S)
        except OSError:
            raise
        except Exception as error:  # the driver has several error families
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        try:
            with translated():
                async with connection.transaction():
                    yield PostgresConnection(connection)
        finally:
            await asyncio.shield(asyncio.ensure_future(_give_back(pool, connection)))

    async def execute_all(self, statements: Sequence[Statement]) -> None:
        """Execute statements in one transaction, each for all of its rows."""
        async with self.transaction() as connection:
            for sql, rows in statements:
                await connection.execute_many(sql, rows)

    async def close(self) -> None:
        """Close the connections; running statements have `CLOSE_S` to end."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                limits: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S}
                if self._n_prepared is not None:
                    limits["statement_cache_size"] = self._n_prepared
                self._pool = await asyncpg.create_pool(self._dsn, min_size=0, max_size=MAX_CONNECTIONS, **limits)
        return self._pool


async def _give_back(pool: Any, connection: Any) -> None:
    """Return the connection to its pool. If it was lost since, its pool drops it, and what was committed stands."""
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        await pool.release(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Raise asyncpg's errors as those of `errors`."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise KeyTaken(str(error)) from error
    except asyncpg.DataError as error:
        raise BadValue(str(error)) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseError(str(error)) from error
