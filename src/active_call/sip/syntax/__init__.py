"""The text of SIP: grammar, URIs, headers, messages, framing, digest. Bytes go in, frozen values come out. Knows no calls."""
