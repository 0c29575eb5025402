"""SRTP and SRTCP with the two SDES suites that trunks offer (RFC 3711, RFC 4568 section 6.2), over libsrtp.

Plain packets enter and protected ones leave, and the other way round. Roll-over counter and replay window are kept per SSRC and direction;
a stream that is not known yet begins with a roll-over counter of 0 and becomes known by its first authentic packet. Keys come from and go
to the offer/answer; their base64 form, lifetimes and tags are not known here.

A session lives as long as its keys: an offer that repeats the keys must keep the session (and with it the roll-over counters), new keys
need a new one.
"""

from __future__ import annotations

from typing import Final, Protocol

from pylibsrtp import Error, Policy, Session

KEY_BYTES: Final = 30
"""Master key (16) and master salt (14)."""

_PROFILES: Final[dict[str, int]] = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
SUITES: Final = tuple(_PROFILES)
"""The names of the suites, the preferred one first."""

_REPLAY_WINDOW: Final = 1024
"""Packets; RFC 3711 section 3.3.2 asks for at least 64. A burst that overtakes by 20 s must not look like an attack."""


class KeySource(Protocol):
    """Where fresh keys come from (`active_call.base.world.Randomness`)."""

    def random_bytes(self, n_bytes: int) -> bytes:
        """`n_bytes` fit for a key."""
        ...


def new_key(randomness: KeySource) -> bytes:
    """Return a fresh master key and salt for one direction of one call."""
    return randomness.random_bytes(KEY_BYTES)


class SrtpSession:
    """Both directions of one secured media stream.

    `send_key` protects what we send, `receive_key` opens what the peer sends; both are 30 bytes. Raises ValueError for an unknown suite or
    a key of the wrong size.
    """

    __slots__ = ("_receiver", "_sender", "n_replayed", "n_unauthentic")

    def __init__(self, suite: str, send_key: bytes, receive_key: bytes) -> None:
        profile = _PROFILES.get(suite)
        if profile is None:
            raise ValueError(f"unknown SRTP suite {suite!r}")
        self._sender = _open(profile, send_key, Policy.SSRC_ANY_OUTBOUND)
        self._receiver = _open(profile, receive_key, Policy.SSRC_ANY_INBOUND)
        self.n_unauthentic = 0
        """Packets refused because their tag is wrong or they are malformed."""
        self.n_replayed = 0
        """Packets refused because they came before, or are too old to tell."""

    def protect(self, rtp: bytes) -> bytes:
        """Return the SRTP packet. Sequence numbers must rise (RFC 3711 section 3.3.1); `pylibsrtp.Error` says one was used twice."""
        protected: bytes = self._sender.protect(rtp)
        return protected

    def unprotect(self, packet: bytes) -> bytes | None:
        """Return the RTP packet, or None when it is not authentic or was seen before (both are counted)."""
        try:
            rtp: bytes = self._receiver.unprotect(packet)
        except (Error, ValueError) as error:
            self._refuse(error)
            return None
        return rtp

    def protect_rtcp(self, rtcp: bytes) -> bytes:
        """Return the SRTCP packet of a compound RTCP packet."""
        protected: bytes = self._sender.protect_rtcp(rtcp)
        return protected

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Return the compound RTCP packet, or None when it is not authentic or was seen before (both are counted)."""
        try:
            rtcp: bytes = self._receiver.unprotect_rtcp(packet)
        except (Error, ValueError) as error:
            self._refuse(error)
            return None
        return rtcp

    def _refuse(self, error: Exception) -> None:
        if "replay" in str(error):
            self.n_replayed += 1
        else:
            self.n_unauthentic += 1


def _open(profile: int, key: bytes, direction: int) -> Session:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an SRTP key has {KEY_BYTES} bytes, not {len(key)}")
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=profile)
    policy.window_size = _REPLAY_WINDOW
    return Session(policy=policy)
