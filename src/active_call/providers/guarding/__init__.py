"""What stands between a call and an engine: deadlines, retries, failover, engines kept between calls."""
