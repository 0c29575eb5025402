"""Call records in SQLite or PostgreSQL: tables, migrations, the one writer, queries, the outbox of the sinks, and calls that dead servers have left open."""
