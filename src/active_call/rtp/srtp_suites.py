"""The SDES crypto suites and the generation of their keys, without libsrtp, for signalling (RFC 4568 §6.2, RFC 6188, RFC 7714)."""

from __future__ import annotations

from typing import Final, Protocol

KEY_BYTES: Final = 30
"""Master key (16) and master salt (14) of the suites that trunks offer."""
KEY_SIZES: Final = {
    "AES_CM_128_HMAC_SHA1_80": KEY_BYTES,
    "AES_CM_128_HMAC_SHA1_32": KEY_BYTES,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""Master key and salt by suite, in bytes. The suites that trunks offer come first."""
SUITES: Final = tuple(KEY_SIZES)


class KeySource(Protocol):
    """Source of random keys (`active_call.base.world.Randomness`)."""

    def random_bytes(self, n_bytes: int) -> bytes:
        """`n_bytes` suitable for a key."""
        ...


def new_key(randomness: KeySource, suite: str = SUITES[0]) -> bytes:
    """Return a new master key and salt of `suite` for one direction of one call."""
    return randomness.random_bytes(KEY_SIZES[suite])
