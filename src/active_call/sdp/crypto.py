"""SRTP keys in SDP: parse, choose and write `a=crypto` lines (RFC 4568, RFC 6188, RFC 7714).

We use one key per line and no MKI. A lifetime is parsed and ignored. Keys are master key and salt together, as libsrtp takes them. This
module handles no packets.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from active_call.base.errors import LocalProtocolError
from active_call.sdp.description import Attribute, Crypto

KEY_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""Length of master key and salt of each supported suite (RFC 4568 §6.2, RFC 6188 §6, RFC 7714 §12)."""
SUITES = tuple(KEY_BYTES)
DEFAULT_OFFER = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
"""The default offer, in this order: Twilio supports only these two."""


@dataclass(frozen=True, slots=True)
class CryptoKey:
    """One crypto line of ours: its tag, its suite, and our sending key."""

    tag: int
    suite: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CryptoAgreement:
    """The negotiated suite, and the master key and salt of each direction."""

    suite: str
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    tag: int = 1


def read_key(crypto: Crypto, suites: tuple[str, ...] = SUITES) -> bytes | None:
    """The key of a usable crypto line. None if it is unusable: other suite, MKI, several keys, unsupported session parameters."""
    suite = crypto.suite.upper()
    if suite not in suites or suite not in KEY_BYTES or not _is_acceptable(crypto.session_parameters):
        return None
    method, colon, key_info = crypto.key_parameters.partition(":")
    encoded, *extras = key_info.split("|")
    if method.lower() != "inline" or not colon or ";" in key_info or any(":" in extra for extra in extras):
        return None
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES[suite] else None


def first_usable(cryptos: Iterable[Crypto], suites: tuple[str, ...] = SUITES) -> tuple[Crypto, bytes] | None:
    """The first usable line in the offerer's order (RFC 4568 §7.1.2), and its key."""
    for crypto in cryptos:
        if (key := read_key(crypto, suites)) is not None:
            return crypto, key
    return None


def format_crypto(key: CryptoKey) -> Attribute:
    """The crypto attribute without lifetime and MKI, which Twilio refuses.

    Raises LocalProtocolError if the key does not match its suite.
    """
    if len(key.key) != KEY_BYTES.get(key.suite):
        raise LocalProtocolError(f"a key of {key.suite} has {KEY_BYTES.get(key.suite)} bytes, not {len(key.key)}")
    return Attribute("crypto", f"{key.tag} {key.suite} inline:{base64.b64encode(key.key).decode('ascii')}")


def _is_acceptable(session_parameters: str) -> bool:
    """Whether they can be ignored: a window size is a hint, KDR=0 is the default, and `-` marks optional ones (RFC 4568 §6.3, §6.3.7)."""
    return all(word.startswith("-") or word.upper().startswith("WSH=") or word.upper() == "KDR=0" for word in session_parameters.split())
