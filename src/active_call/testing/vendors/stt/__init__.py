"""Recognition vendors on loopback, one per file."""
