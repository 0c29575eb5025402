"""Accounts of vendors whose recognition and synthesis share one: servers, where to create a key, how requests carry it."""
