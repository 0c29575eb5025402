"""The usage and cost of one call, and the end of a call when its budget, or the day's, is spent."""
