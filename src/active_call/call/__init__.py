"""One call, from start to record. Knows legs, the agent, providers, media streams and the store; nothing of HTTP or config files."""
