"""Language model vendors on loopback, one per file; `chat_vendor` is their base."""
