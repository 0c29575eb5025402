"""Calls with a caller's real sound in virtual time: which words are recognised, and when the agent takes its turn."""
