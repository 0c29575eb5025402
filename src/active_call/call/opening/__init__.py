"""How a call comes to be: options, routing, set-up, the registry."""
