"""The usage and cost of one call, and the end of a call when its budget, or that of the day, is spent."""
