"""Stored synthesised speech: its key, its cache, recorded texts."""
