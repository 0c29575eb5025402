"""The tools of a conversation: the registry, and the running calls."""
