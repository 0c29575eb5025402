"""Call records in SQLite or PostgreSQL: tables, writer, queries, outbox, and open calls of dead servers."""
