"""The SIP messages of each call, for its record."""
