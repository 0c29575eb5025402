"""Vendors of synthesis, one a file, and what they share."""
