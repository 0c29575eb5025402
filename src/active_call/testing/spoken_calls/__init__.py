"""Calls with a caller's real sound in virtual time: the words that are heard of it, and when the agent takes its turn."""
