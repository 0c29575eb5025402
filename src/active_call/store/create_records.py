"""Creates the configured store of call records.

Plain settings enter; a store leaves, to be started. Kinds: `local` (JSON files), `http` (POST) and `database` (database only). Every kind
also has a database, which is a SQLite file in `root` unless a URL is configured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import httpx

from active_call.base.errors import ConfigError
from active_call.base.world import World
from active_call.store.database.connection import Database
from active_call.store.database.errors import DatabaseError
from active_call.store.database.queries import RecordQueries
from active_call.store.database.records import DatabaseRecords
from active_call.store.database.url import DatabaseUrl, parse_database_url, sqlite_url
from active_call.store.http_records import HttpRecords
from active_call.store.local_records import LocalRecords
from active_call.store.records import RecordPage, RecordQuery, RecordsUnavailable
from active_call.store.sinks import RecordDelivery
from active_call.store.troubles import Troubles

FILE_NAME = "records.db"


class RecordSettings(Protocol):
    """The section `[callrecord]` of the configuration."""

    @property
    def type(self) -> str: ...


@runtime_checkable
class _WithRoot(Protocol):
    @property
    def root(self) -> str: ...

    @property
    def database(self) -> str: ...


@runtime_checkable
class _WithUrl(Protocol):
    @property
    def root(self) -> str: ...

    @property
    def url(self) -> str: ...


@runtime_checkable
class _HttpSettings(_WithRoot, Protocol):
    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


def create_records(settings: RecordSettings, client: httpx.AsyncClient, world: World, troubles: Troubles) -> DatabaseRecords:
    """The store for `settings`. Raises ConfigError for a type that this version does not support, and for an invalid URL."""
    sink: RecordDelivery | None = None
    if settings.type == "database" and isinstance(settings, _WithUrl):
        return DatabaseRecords(parse_database_url(settings.url), Path(settings.root), world, troubles)
    if settings.type == "http" and isinstance(settings, _HttpSettings):
        sink = HttpRecords(settings.url, settings.headers, client, fallback=LocalRecords(Path(settings.root)))
    elif settings.type == "local" and isinstance(settings, _WithRoot):
        sink = LocalRecords(Path(settings.root))
    else:
        raise ConfigError("callrecord.type", f"{settings.type!r} is not supported yet in this version; use local, http or database")
    return DatabaseRecords(_url_of(settings), Path(settings.root), world, troubles, sink=sink)


async def read_record(settings: RecordSettings, record_id: str) -> dict[str, Any] | None:
    """The record of an ended call, read beside a server that may be running; None if there is none.

    Raises ConfigError, and RecordsUnavailable if the database does not answer.
    """
    async with _queries(settings) as queries:
        return None if queries is None else await queries.get(record_id)


async def read_records(settings: RecordSettings, query: RecordQuery) -> RecordPage:
    """Ended calls, the newest first, read beside a server that may be running. Raises as `read_record`."""
    async with _queries(settings) as queries:
        return RecordPage((), 0) if queries is None else await queries.list(query)


@asynccontextmanager
async def _queries(settings: RecordSettings) -> AsyncIterator[RecordQueries | None]:
    """The database for reading only; None if it does not exist yet."""
    if settings.type == "database" and isinstance(settings, _WithUrl):
        url = parse_database_url(settings.url)
    elif isinstance(settings, _WithRoot):
        url = _url_of(settings)
    else:
        raise ConfigError("callrecord.type", f"{settings.type!r} is not supported yet in this version; use local, http or database")
    if not _may_exist(url):
        yield None
        return
    database = Database(url)
    try:
        yield RecordQueries(database)
    except (DatabaseError, OSError, TimeoutError) as error:
        raise RecordsUnavailable(f"the records database does not answer: {database.name}") from error
    finally:
        await database.close()


def _may_exist(url: DatabaseUrl) -> bool:
    """Reading must not create an empty database."""
    return url.path is None or url.path.exists()


def _url_of(settings: _WithRoot) -> DatabaseUrl:
    if settings.database:
        return parse_database_url(settings.database, "callrecord.database")
    return sqlite_url(Path(settings.root) / FILE_NAME)
