"""Whether the machine has room for one more call: the cores that all server processes share, and the rate of new calls."""
