"""Vendors of language models on loopback, one a file; `chat_vendor` is what they share."""
