"""Brings a database to the tables of this version: an empty one gets them directly, an older one is migrated by Alembic.

Alembic is imported only for a migration: the import takes a third of a second and 20 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from active_call.base.errors import ConfigError
from active_call.store.database.tables import HEAD_REVISION, metadata

MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"

_versions = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic creates it."""


def bring_up_to_date(connection: sa.Connection) -> None:
    """Create or migrate the tables, in the transaction of `connection`. Raises ConfigError for a database of a newer version."""
    names = set(sa.inspect(connection).get_table_names())
    if _versions.name not in names and not names & set(metadata.tables):
        _create(connection)
    elif _versions.name not in names or connection.scalar(sa.select(_versions.c.version_num)) != HEAD_REVISION:
        migrate(connection)


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    _versions.create(connection)
    connection.execute(sa.insert(_versions).values(version_num=HEAD_REVISION))


def migrate(connection: sa.Connection) -> None:
    """Run the migration scripts that the database lacks. Raises ConfigError for a database of a newer version."""
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
