"""A self-signed certificate for trials. Paths and names enter; two PEM files leave. RSA, because carriers may support nothing else."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from active_call.base.errors import ConfigError

VALID_DAYS = 365
KEY_BITS = 2048
CLOCK_SKEW = timedelta(minutes=5)
"""How far a peer's clock may be behind ours."""


def write_development_certificate(cert_path: Path, key_path: Path, names: Sequence[str]) -> None:
    """Write a self-signed certificate for `names` (IP addresses or DNS names; the first is the CN) and its key, readable only for us.

    Folders are created. Raises ConfigError if one of the files exists already, or cannot be written; nothing is ever overwritten.
    """
    if not names:
        raise ConfigError("tls_cert_file", "a certificate needs at least one name or address")
    for path in (cert_path, key_path):
        if path.exists():
            raise ConfigError("tls_cert_file", f"{path} already exists and is not overwritten")
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    certificate = _sign(key, names)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        cert_path.parent.mkdir(parents=True, exist_ok=True)
        key_path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(key_path, secret, 0o600)
        try:
            _write_new(cert_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        except OSError:
            key_path.unlink()
            raise
    except OSError as error:
        raise ConfigError("tls_cert_file", f"the certificate cannot be written: {error}") from error


def _sign(key: rsa.RSAPrivateKey, names: Sequence[str]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    return x509.DNSName(name)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Create `path` with `mode`; an existing file is an error."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
