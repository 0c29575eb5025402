"""What the caller says and hears as words: recognition, synthesis, words kept."""
