"""Vendors of synthesis on loopback, one a file."""
