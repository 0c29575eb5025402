"""Vendors of recognition on loopback, one a file."""
