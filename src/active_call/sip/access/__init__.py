"""Which requests are let in: access list, request admission, rates, screening."""
