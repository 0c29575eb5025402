"""What every room may use: clock and randomness as interfaces, the error families, PCM units."""
