"""Run by Alembic: migrates over the connection that `store.database.connection` hands over."""

from __future__ import annotations

from alembic import context

from active_call.store.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
