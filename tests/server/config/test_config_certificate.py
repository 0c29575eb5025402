"""The development certificate, judged by OpenSSL's own verification."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from active_call.base.errors import ConfigError
from active_call.server.certificate import write_development_certificate


def shake_hands(certificate: Path, key: Path, name: str) -> None:
    """A TLS handshake in memory, with `name` as the reference identity."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "new" / "cert.pem", tmp_path / "new" / "key.pem"
    write_development_certificate(certificate, key, ["203.0.113.10", "sip.example.com", "::1"])
    return certificate, key


@pytest.mark.parametrize("name", ["203.0.113.10", "sip.example.com", "::1"])
def test_certificate_is_accepted_for_each_of_its_names(files: tuple[Path, Path], name: str) -> None:
    shake_hands(*files, name)


def test_certificate_is_refused_for_another_name(files: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*files, "other.example.com")


def test_certificate_is_rsa_2048_for_a_year_and_key_is_private(files: tuple[Path, Path]) -> None:
    certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 365
    assert stat.S_IMODE(files[1].stat().st_mode) == 0o600


@pytest.mark.parametrize("existing", ["cert.pem", "key.pem"])
def test_certificate_never_overwrites(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match="not overwritten"):
        write_development_certificate(tmp_path / "cert.pem", tmp_path / "key.pem", ["a.example"])
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text(encoding="utf-8") == "precious"
