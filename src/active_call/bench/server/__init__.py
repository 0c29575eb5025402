"""Measures the whole server: real SIP calls with sound in both directions, all its processes on one core. See `__main__`."""
