"""What the console shows and no other route tells: read-only routes below `/api/console`."""
