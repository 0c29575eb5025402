"""What agents may search: a folder of Markdown files, indexed by SQLite's full-text search."""
