"""DTLS for one browser (RFC 9147, RFC 8842), and the resulting SRTP keys (RFC 5764), with OpenSSL.

Datagrams enter by `receive` and leave by `send`. The peer's certificate is verified only by the fingerprint in its offer (RFC 8122),
because browsers generate one per connection. No sockets, no clock: `next_timeout_s` says when `handle_timeout` is due.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct
from OpenSSL import SSL

from active_call.base.errors import ActiveCallError
from active_call.sdp.crypto import SUITES

MTU: Final = 1200
"""Maximum size of a handshake message, below the MTU of every path."""
_HEADER_BYTES: Final = 13
_RECORD_BYTES: Final = 1 << 14
"""Maximum size of a record's data (RFC 9147 §4.5.1 refers to RFC 8446 §5.1)."""
_EXPORTER: Final = b"EXTRACTOR-dtls_srtp"
_PROFILES: Final = {
    b"SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16, 12),
    b"SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16, 14),
}
"""Suite, key length and salt length in bytes, by OpenSSL's name (RFC 5764, RFC 7714); best first."""


class DtlsError(ActiveCallError):
    """The handshake failed, or the certificate does not match the fingerprint of the offer."""

    code = "dtls"


class SrtpKeys(Struct, frozen=True):
    """Keys with salts: ours for sent packets, the peer's for received ones."""

    suite: str
    send_key: bytes
    receive_key: bytes


class Certificate(Struct, frozen=True):
    """Our certificate with its key, and its SHA-256 fingerprint in SDP form."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    fingerprint: str


@cache
def own_certificate() -> Certificate:
    """The certificate of this process: P-256, valid for a year, generated on first use."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "active-call")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(days=365)).sign(key, hashes.SHA256())
    return Certificate(certificate, key, _shown(hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()))


@cache
def _context() -> SSL.Context:
    own = own_certificate()
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)  # verified by its fingerprint below
    context.use_certificate(own.certificate)
    context.use_privatekey(own.key)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_tlsext_use_srtp(b":".join(name for name, (suite, _, _) in _PROFILES.items() if suite in SUITES))
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    return context


class Dtls:
    """One handshake. `fingerprints`: those of the offer. `send` is called with each datagram for the peer."""

    def __init__(self, *, is_client: bool, fingerprints: tuple[tuple[str, str], ...], send: Callable[[bytes], None]) -> None:
        self._fingerprints = fingerprints
        self._send = send
        self._is_client = is_client
        self._connection = SSL.Connection(_context(), None)
        if is_client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self._connection.set_ciphertext_mtu(MTU)
        self.keys: SrtpKeys | None = None
        self.is_closed = False
        """The peer has sent close_notify."""

    def begin(self) -> None:
        """Send the first message if we are the client. Raises DtlsError."""
        self._advance()

    def receive(self, datagram: bytes) -> None:
        """Take a datagram of the peer. Raises DtlsError."""
        self._connection.bio_write(datagram)
        self._advance()

    def next_timeout_s(self) -> float | None:
        """Seconds until the next retransmission; None if none is due."""
        timeout: float | None = self._connection.DTLSv1_get_timeout()
        return None if self.keys is not None else timeout

    def handle_timeout(self) -> None:
        """Retransmit unanswered messages. Raises DtlsError after too many attempts."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise DtlsError(f"DTLS handshake failed: {_reason(error)}") from error
        self._flush()

    def close(self) -> None:
        """Send close_notify. A second call has no effect."""
        if self.keys is not None and not self.is_closed:
            try:
                self._connection.shutdown()
                self._flush()
            except SSL.Error:
                pass
        self.is_closed = True

    def _advance(self) -> None:
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self._finish()
            while True:  # no application data is expected; what a record leaves unread would stay in memory
                self._connection.recv(_RECORD_BYTES)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.is_closed = True
        except SSL.Error as error:
            self._flush()
            raise DtlsError(f"DTLS failed: {_reason(error)}") from error
        self._flush()

    def _finish(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not self._is_known(certificate):
            raise DtlsError("the browser's certificate does not match the fingerprint of the offer")
        profile = self._connection.get_selected_srtp_profile()
        if profile not in _PROFILES:
            raise DtlsError("no SRTP profile in common")
        suite, n_key, n_salt = _PROFILES[profile]
        material = self._connection.export_keying_material(_EXPORTER, 2 * (n_key + n_salt))
        keys = (material[:n_key], material[n_key : 2 * n_key])
        salts = (material[2 * n_key : 2 * n_key + n_salt], material[2 * n_key + n_salt :])
        client, server = keys[0] + salts[0], keys[1] + salts[1]
        self.keys = SrtpKeys(suite, client, server) if self._is_client else SrtpKeys(suite, server, client)

    def _is_known(self, certificate: x509.Certificate) -> bool:
        der = certificate.public_bytes(serialization.Encoding.DER)
        strong = [one for one in self._fingerprints if one[0] != "sha-1"] or list(self._fingerprints)
        return any(_shown(hashlib.new(name.replace("-", ""), der).digest()) == value for name, value in strong)

    def _flush(self) -> None:
        pending = b""
        while True:
            try:
                pending += self._connection.bio_read(65_536)
            except SSL.WantReadError:
                break
        for datagram in in_datagrams(pending):
            self._send(datagram)


def in_datagrams(records: bytes) -> list[bytes]:
    """Pack DTLS records into datagrams of at most `MTU` bytes without splitting them (RFC 6347 §4.1.1). A longer record is sent alone."""
    datagrams: list[bytes] = []
    at = 0
    while at < len(records):
        length = _HEADER_BYTES + int.from_bytes(records[at + _HEADER_BYTES - 2 : at + _HEADER_BYTES], "big")
        record = records[at : at + length]
        if datagrams and len(datagrams[-1]) + len(record) <= MTU:
            datagrams[-1] += record
        else:
            datagrams.append(record)
        at += length
    return datagrams


def _shown(digest: bytes) -> str:
    return digest.hex(":").upper()


def _reason(error: SSL.Error) -> str:
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in entries if entry) or type(error).__name__
