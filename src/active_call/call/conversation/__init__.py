"""The agent within a call: start, model requests, tools."""
