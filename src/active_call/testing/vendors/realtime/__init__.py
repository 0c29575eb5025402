"""Speech-to-speech vendors on loopback, one per file."""
