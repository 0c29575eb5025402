"""Alembic's scripts for the records database, run at start by `store.database.connection`."""
