"""What stands between a call and an engine: deadlines, retries, failover, and shared engine instances."""
