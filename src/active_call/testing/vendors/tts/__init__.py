"""Synthesis vendors on loopback, one per file."""
