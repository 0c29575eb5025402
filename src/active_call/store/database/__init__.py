"""Call records in SQLite or PostgreSQL: tables, migrations, writer, queries, outbox, and open calls of dead servers."""
