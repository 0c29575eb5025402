"""From plays to packets: play queues, mixing, encoding, SRTP, sending."""
