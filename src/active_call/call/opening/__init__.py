"""The start of a call: options, routing, set-up, the registry."""
