"""What every room may know: the clock and randomness behind doors, the error families, PCM words."""
