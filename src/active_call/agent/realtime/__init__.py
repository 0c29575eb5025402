"""A conversation with a realtime model: sound in, items out."""
