"""Which requests the endpoint accepts: access list, request admission, rate limits, screening."""
