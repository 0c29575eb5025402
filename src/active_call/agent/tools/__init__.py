"""The tools of a conversation: which there are, and the calls of them that are running."""
