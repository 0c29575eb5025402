"""Models of sound that say whether a speaker's turn is over."""
