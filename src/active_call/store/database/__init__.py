"""Call records in SQLite or PostgreSQL: tables, migrations, writer, queries, outbox, and calls that dead servers have left open."""
