"""The agent at work in a call: the model's requests, tools, start."""
