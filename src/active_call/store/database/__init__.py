"""Call records in SQLite or PostgreSQL: tables, migrations, the writer, queries, the outbox, and the calls that dead servers have left open."""
