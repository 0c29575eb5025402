"""The callers' voices improved before anything listens: noise suppression, gain."""
