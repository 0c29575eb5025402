"""Measures the whole server: real SIP calls with sound both ways, all its processes on one core. See `__main__`."""
