"""Models that judge from the sound whether a speaker's turn has ended."""
