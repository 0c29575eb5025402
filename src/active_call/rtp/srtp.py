"""SRTP and SRTCP with libsrtp and the suites of SDES (RFC 3711, RFC 4568 §6.2; AES-256 of RFC 6188, GCM of RFC 7714).

Plain packets go in and protected ones come out, and vice versa. The roll-over counter and the replay window are per SSRC and direction. An
unknown stream starts with a roll-over counter of 0 and becomes known by its first authentic packet. libsrtp searches its streams one after
another, so the owner must `forget` some if a peer uses many. Keys come from and go to the offer/answer; this module does not know their
base64 form, lifetimes and tags.

A session lives as long as its keys: an offer that repeats the keys must keep the session (and its roll-over counters); new keys need a new
session.

libsrtp works in place, and so does everything that runs in each tick, in a `PacketMemory` (`protect_in`, `unprotect_in`). The methods that
take and return bytes copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from pylibsrtp import Error, Policy, Session
from pylibsrtp._binding import ffi, lib

from active_call.rtp.srtp_suites import KEY_BYTES, KEY_SIZES


class _Suite(Struct, frozen=True):
    """`profile` is libsrtp's name of the suite, or of the suite that differs only by a shorter key. `tag_bytes`: size of the tag."""

    profile: int
    tag_bytes: int
    is_aes_256_cm: bool = False


_SUITES: Final = {
    "AES_CM_128_HMAC_SHA1_80": _Suite(Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 10),
    "AES_CM_128_HMAC_SHA1_32": _Suite(Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 4),
    "AES_256_CM_HMAC_SHA1_80": _Suite(Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 10, is_aes_256_cm=True),
    "AES_256_CM_HMAC_SHA1_32": _Suite(Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 4, is_aes_256_cm=True),
    "AEAD_AES_128_GCM": _Suite(Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16),
    "AEAD_AES_256_GCM": _Suite(Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 16),
}
MAX_TAG_BYTES: Final = 16
"""Maximum overhead of a protected packet; `SrtpSession.tag_bytes` is that of one suite."""

_srtp_protect = lib.srtp_protect
_srtp_unprotect = lib.srtp_unprotect
_OK: Final[int] = lib.srtp_err_status_ok
_REPLAYED: Final = (9, 10)
"""srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h: received before, or too old to decide."""
_REPLAY_WINDOW: Final = 1024
"""In packets; RFC 3711 §3.3.2 requires at least 64. A burst that is 20 s out of order must not look like an attack."""


class PacketMemory:
    """Rows of `row_bytes`, zeroed, in which packets are built, received, protected and unprotected without copying.

    A row must have space for its packet and the tag. Owned by one thread.
    """

    __slots__ = ("_lengths", "_memory", "lengths", "places", "rows", "view")

    def __init__(self, n_rows: int, row_bytes: int) -> None:
        self.rows: NDArray[np.uint8] = np.zeros((n_rows, row_bytes), np.uint8)  # unused pages take no memory
        self._memory = ffi.from_buffer("unsigned char[]", self.rows, require_writable=True)
        self._lengths = ffi.new("int[]", n_rows)
        self.view = self.rows.data.cast("B")
        """All rows, contiguous and writable."""
        self.lengths: NDArray[np.intc] = np.frombuffer(ffi.buffer(self._lengths), np.intc)
        """The packet size of each row, before and after it is protected or unprotected."""
        self.places: list[Place] = [(self._memory + row * row_bytes, self._lengths + row) for row in range(n_rows)]
        """The arguments of each row for `SrtpSession`. They do not keep the memory alive."""


Place = tuple[Any, Any]
"""A row of a `PacketMemory` for libsrtp: pointers to the packet and to its length."""
Context = Any
"""libsrtp's context for one direction of a session. It keeps its session alive."""


def protect_all(contexts: Iterable[Context], starts: Iterable[Any], lengths: Iterable[Any]) -> list[bool]:
    """Protect one packet in place with each of the `sending` contexts; `starts` and `lengths` are the two halves of the places.

    Returns for each whether it is protected. One that is not must not be sent.
    """
    return [status == _OK for status in map(_srtp_protect, contexts, starts, lengths)]


def unprotect_all(contexts: Iterable[Context], starts: Iterable[Any], lengths: Iterable[Any]) -> list[int]:
    """Unprotect one packet in place with each of the `receiving` contexts. There may be more places.

    Returns statuses: 0, or the argument of `SrtpSession.refuse`.
    """
    return list(map(_srtp_unprotect, contexts, starts, lengths))


class SrtpSession:
    """Both directions of one secured media stream.

    `send_key` protects our packets, `receive_key` unprotects the peer's; both are master key and salt. Raises ValueError for an unknown
    suite or a key of the wrong size.
    """

    __slots__ = ("_receiver", "_sender", "n_replayed", "n_unauthentic", "receiving", "sending", "tag_bytes")

    def __init__(self, suite: str, send_key: bytes, receive_key: bytes) -> None:
        chosen = _SUITES.get(suite)
        if chosen is None:
            raise ValueError(f"unknown SRTP suite {suite!r}")
        for key in (send_key, receive_key):
            if len(key) != KEY_SIZES[suite]:
                raise ValueError(f"an SRTP key of this suite has {KEY_SIZES[suite]} bytes, not {len(key)}")
        self._sender = _open(chosen, send_key, Policy.SSRC_ANY_OUTBOUND)
        self._receiver = _open(chosen, receive_key, Policy.SSRC_ANY_INBOUND)
        self.sending = _context_of(self._sender)
        self.receiving = _context_of(self._receiver)
        self.tag_bytes = chosen.tag_bytes
        self.n_unauthentic = 0
        """Packets refused because their tag is wrong or they are malformed."""
        self.n_replayed = 0
        """Packets refused because they were received before or are too old to decide."""

    def protect(self, rtp: bytes) -> bytes:
        """Return the SRTP packet. Sequence numbers must increase (RFC 3711 §3.3.1); `pylibsrtp.Error` means that one was used twice."""
        protected: bytes = self._sender.protect(rtp)
        return protected

    def unprotect(self, packet: bytes) -> bytes | None:
        """Return the RTP packet, or None if it is not authentic or was received before (both are counted)."""
        try:
            rtp: bytes = self._receiver.unprotect(packet)
        except (Error, ValueError) as error:
            self._refuse(error)
            return None
        return rtp

    def protect_in(self, place: Place, n_bytes: int) -> None:
        """Protect the RTP packet of `n_bytes` at `place`, which grows by `tag_bytes`. Otherwise like `protect`."""
        start, size = place
        size[0] = n_bytes
        status = _srtp_protect(self.sending, start, size)
        if status != _OK:
            raise Error(f"srtp_protect: status {status}")

    def unprotect_in(self, place: Place, n_bytes: int) -> int:
        """Unprotect the SRTP packet of `n_bytes` at `place`. Returns the length of the resulting RTP packet.

        -1 if it is not authentic or was received before (both are counted). The data is then unchanged, except with GCM, which decrypts
        while it authenticates.
        """
        start, size = place
        size[0] = n_bytes
        status = _srtp_unprotect(self.receiving, start, size)
        if status == _OK:
            return int(size[0])
        self.refuse(status)
        return -1

    def refuse(self, status: int) -> None:
        """Count a packet that `unprotect_all` could not unprotect with this session."""
        if status in _REPLAYED:
            self.n_replayed += 1
        else:
            self.n_unauthentic += 1

    def protect_rtcp(self, rtcp: bytes) -> bytes:
        """Return the SRTCP packet of a compound RTCP packet."""
        protected: bytes = self._sender.protect_rtcp(rtcp)
        return protected

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Return the compound RTCP packet, or None if it is not authentic or was received before (both are counted)."""
        try:
            rtcp: bytes = self._receiver.unprotect_rtcp(packet)
        except (Error, ValueError) as error:
            self._refuse(error)
            return None
        return rtcp

    def forget(self, ssrc: int) -> None:
        """Forget the roll-over counter and the replay window of one of the peer's streams."""
        with contextlib.suppress(Error):  # it is not known
            self._receiver.remove_stream(ssrc)

    def _refuse(self, error: Exception) -> None:
        if "replay" in str(error):
            self.n_replayed += 1
        else:
            self.n_unauthentic += 1


def _context_of(session: Session) -> Context:
    def release(_: object, _session: Session = session) -> None:
        """The context was freed, and with it the reference to the session."""

    return ffi.gc(session._srtp[0], release)


def _open(suite: _Suite, key: bytes, direction: int) -> Session:
    policy = Policy(ssrc_type=direction, srtp_profile=suite.profile)
    if suite.is_aes_256_cm:
        _lengthen_key(policy)
    policy.key = key
    if direction == Policy.SSRC_ANY_INBOUND:  # our own packets are in order, and a wide window costs time
        policy.window_size = _REPLAY_WINDOW
    return Session(policy=policy)


_AES_ICM_128: Final = 1
_AES_ICM_256: Final = 5
"""SRTP_AES_ICM_128 and SRTP_AES_ICM_256 of libsrtp's crypto_types.h. Its profiles have no AES-256 in counter mode, its policies do."""


def _lengthen_key(policy: Policy) -> None:
    """Change AES-128 in counter mode to AES-256: the first two fields of srtp_crypto_policy_t, cipher type and length of key and salt."""
    for part in (policy._policy.rtp, policy._policy.rtcp):
        fields = memoryview(ffi.buffer(ffi.addressof(part))).cast("B").cast("i")
        if (fields[0], fields[1]) != (_AES_ICM_128, KEY_BYTES):
            raise ValueError("this libsrtp does not support AES_256_CM")
        fields[0], fields[1] = _AES_ICM_256, 46
