"""Data for the console that no other route offers: read-only routes below `/api/console`."""
