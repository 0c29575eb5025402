"""What agents may look up: a folder of Markdown files, indexed by SQLite's full-text search."""
