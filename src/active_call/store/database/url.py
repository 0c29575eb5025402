"""The address of the records database: a SQLite file or a PostgreSQL server. A text enters, its parts leave."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from active_call.base.errors import ConfigError

KEY: Final = "callrecord.url"

_SQLITE: Final = ("sqlite", "sqlite+aiosqlite")
_POSTGRES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
_PREPARED: Final = ("statement_cache_size", "prepared_statement_cache_size")
_USER: Final = re.compile(r"(?P<user>[^:/@?]*)(?::(?P<password>[^@]*))?@")
"""As libpq reads it, but a password may contain `/` and `:`."""


class DatabaseUrl(Struct, frozen=True):
    """Either `path` or `dsn` is set. `shown` has no password."""

    shown: str
    path: Path | None = None
    """The file of SQLite."""
    dsn: str = ""
    """The address for asyncpg. It contains the password."""
    n_prepared: int | None = None
    """How many statements a connection keeps prepared; None: asyncpg's default. Poolers such as PgBouncer may need 0."""

    def __repr__(self) -> str:
        return self.shown


def sqlite_url(path: Path) -> DatabaseUrl:
    """The address of a SQLite file."""
    return DatabaseUrl(f"sqlite:///{path}", path=path)


def parse_database_url(text: str, key: str = KEY) -> DatabaseUrl:
    """The parts of the URL. Raises ConfigError under `key`; the message never contains the password."""
    scheme, found, rest = text.partition("://")
    if not found or not scheme:
        raise ConfigError(key, "expected a URL such as postgresql://user:password@host/database or sqlite:///folder/records.db")
    if scheme in _SQLITE:
        path = rest.partition("?")[0].removeprefix("/")
        if path in ("", ":memory:") or not rest.startswith("/"):
            raise ConfigError(key, "a SQLite URL names a file: sqlite:///folder/records.db")
        return sqlite_url(Path(path))
    if scheme not in _POSTGRES:
        raise ConfigError(key, f"expected postgresql:// or sqlite:///, found {scheme}://")
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigError(key, "PostgreSQL needs the package asyncpg: pip install 'active-call[postgres]'")
    return _postgres_url(rest, key)


def _postgres_url(rest: str, key: str) -> DatabaseUrl:
    """`ssl` in the query is libpq's `sslmode`; earlier versions used that name."""
    user = _USER.match(rest)
    secret, shown = "", ""
    if user is not None:
        name, password = quote(unquote(user["user"])), user["password"]
        secret = f"{name}@" if password is None else f"{name}:{quote(unquote(password), safe='')}@"
        shown = f"{name}@" if password is None else f"{name}:***@"
        rest = rest[user.end() :]
    try:
        parts = urlsplit(f"//{rest}")
        if "," not in parts.netloc:
            _ = parts.port
        query = [("sslmode" if name == "ssl" else name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
        n_prepared = next((int(value) for name, value in query if name in _PREPARED), None)
    except ValueError as error:
        raise ConfigError(key, "expected a URL such as postgresql://user:password@host/database") from error
    query = [(name, value) for name, value in query if name not in _PREPARED]
    place = f"{parts.netloc}{parts.path}"
    hidden = [(name, "***" if name == "password" else value) for name, value in query]
    return DatabaseUrl(
        f"postgresql://{shown}{place}{'?' if hidden else ''}{urlencode(hidden, safe='*/,')}",
        dsn=f"postgresql://{secret}{place}{'?' if query else ''}{urlencode(query)}",
        n_prepared=n_prepared,
    )
