"""Accounts with vendors whose recognition and synthesis share one: the servers, where a key is made, and how it is sent or signs."""
