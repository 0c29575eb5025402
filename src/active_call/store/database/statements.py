"""Statements of the records database: SQL that SQLite and PostgreSQL both understand, with named parameters (`:name`).

Values are str, int, float, None and aware datetimes; times are in columns whose name ends with `_at`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

Values = Mapping[str, Any]
"""The parameters of a statement by name; it may have more than the statement uses."""
Row = Mapping[str, Any]
"""A row of a result by column name."""
Statement = tuple[str, Sequence[Values]]
"""A statement with the parameters of each of its rows."""

NONE: Final[Values] = {}
_PARAMETER: Final = re.compile(r":([a-z_][a-z0-9_]*)")


class Connection(Protocol):
    """The connection for one transaction, the same for both databases. Raises DatabaseError, OSError, and ValueError, TypeError or
    OverflowError for values.
    """

    async def fetch(self, sql: str, values: Values = NONE, /) -> Sequence[Row]:
        """All rows of the result."""
        ...

    async def scalar(self, sql: str, values: Values = NONE, /) -> Any:
        """The first value of the first row, None if there is none."""
        ...

    async def execute(self, sql: str, values: Values = NONE, /) -> int:
        """Execute a statement without a result; returns the number of rows that it changed."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Values], /) -> None:
        """Execute a statement without a result, once for each of `rows`."""
        ...


def insert_into(table: str, columns: Iterable[str]) -> str:
    """An INSERT whose parameters have the names of the columns."""
    names = tuple(columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


def assignments(columns: Iterable[str]) -> str:
    """The SET part of an UPDATE whose parameters have the names of the columns."""
    return ", ".join(f"{name} = :{name}" for name in columns)


def one_of(column: str, choices: Iterable[object], name: str = "choice") -> tuple[str, dict[str, Any]]:
    """The condition that `column` is one of `choices`, with its parameters. `name` begins their names."""
    values = {f"{name}_{number}": choice for number, choice in enumerate(choices)}
    return (f"{column} IN ({', '.join(f':{key}' for key in values)})", values) if values else ("1 = 0", values)


@lru_cache(256)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """The statement with PostgreSQL's numbered parameters, and their names in this order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql), names
