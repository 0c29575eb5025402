"""The text of SIP: grammar, URIs, headers, messages, framing, digest. Bytes enter, frozen values leave; knows no call."""
