"""Whether the machine has room for one more call: the cores that all processes of the server share, and the pace of new calls."""
