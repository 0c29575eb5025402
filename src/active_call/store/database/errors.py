"""The errors of the records database, the same for SQLite and PostgreSQL. `__cause__` is the driver's own error."""

from __future__ import annotations

from active_call.base.errors import ActiveCallError


class DatabaseError(ActiveCallError):
    """The database cannot do this now: callers retry."""

    code = "database_error"


class KeyTaken(DatabaseError):
    """A row with this key exists, or another constraint forbids the row."""

    code = "database_key_taken"


class BadValue(DatabaseError):
    """The database can never accept one of the values."""

    code = "database_bad_value"
