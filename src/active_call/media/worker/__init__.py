"""The media process: its loop, its tick, its streams."""
