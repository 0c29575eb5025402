"""Synthesised speech that is kept: its key, its cache, recorded texts."""
