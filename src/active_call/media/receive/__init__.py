"""From packets to samples: sockets, latching, SRTP, jitter buffers, decoding."""
