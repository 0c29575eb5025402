"""TLS for SIP: client and server contexts, and a server certificate that can be replaced at run time.

In: files. Out: `ssl` contexts. Both roles require TLS 1.2 or later. OpenSSL checks a server's name as RFC 5922 §7 requires: the host of the
URI must be among the certificate's subjectAltNames; the common name does not count. One exception: a wildcard matches one label (RFC 6125
§6.4.3), which RFC 5922 §7.2 forbids and Twilio's certificate (`*.pstn.twilio.com`) needs. OpenSSL does not evaluate `sip:` URIs there
(§7.1): if a certificate lacks the name, `is_named_by_uri` checks it again over a connection that has verified only the chain.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.net.sip_sockets import describe_failure
from active_call.sip.syntax.uri import parse_uri

MakeContext = Callable[[], ssl.SSLContext]
"""Returns a client context. It may take 30 ms, so it is called in a thread."""


class CertificateFiles(Struct, frozen=True):
    """A certificate chain and its key in PEM form."""

    certificate: Path
    key: Path


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """A context for accepted connections. It requests no client certificate. Raises OSError or ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context


def client_context(
    *, ca_file: str | None = None, certificate: str | None = None, key: str | None = None, verify: bool = True, checks_name: bool = True
) -> ssl.SSLContext:
    """A context for connections that we open. `certificate` is sent to servers that request one; its key may be in the same file.

    Without `checks_name` the chain is still verified, and the first user of the connection checks the name by `is_named_by_uri`. Raises
    OSError or ssl.SSLError.
    """
    needs_authorities = verify or ca_file is not None  # loading the system's takes 30 ms
    context = ssl.create_default_context(cafile=ca_file) if needs_authorities else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.check_hostname = checks_name
    if certificate:
        context.load_cert_chain(certificate, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_named_by_uri(certificate: Mapping[str, Any], name: str) -> bool:
    """Whether a verified certificate (from `ssl`) has a `sip:` URI without a user for the SIP domain `name` (RFC 5922 §7.1)."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "URI":
            with contextlib.suppress(ParseError):
                uri = parse_uri(value)
                if uri.scheme == "sip" and not uri.user and uri.host.lower().rstrip(".") == name.lower().rstrip("."):
                    return True
    return False


class ServerCertificate:
    """The certificate files of a server context, checked periodically."""

    def __init__(self, context: ssl.SSLContext | None, files: CertificateFiles | None, logger: logging.Logger) -> None:
        self._context = context
        self._files = files
        self._log = logger
        self._state = _state_of(files)
        self._refused: object = None
        """The state of files that could not be used: this is logged once."""

    @property
    def name(self) -> str:
        """The path of the certificate file, for messages."""
        return str(self._files.certificate) if self._files is not None else ""

    def reload(self) -> bool:
        """Use the current files for new connections. True if they have changed and are valid. Open connections are not affected."""
        state = _state_of(self._files)
        if self._files is None or self._context is None or state is None or state in (self._state, self._refused):
            return False
        fields = {"certificate": self.name}
        try:
            # Load into a trial context first, so that a half-written pair does not break the active one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._files.certificate, self._files.key)
            self._context.load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ssl.SSLError) as error:
            more = "the previous one stays in use; the files are read again when they change"
            self._log.error("TLS certificate could not be reloaded", extra={**fields, "error": describe_failure(error), "more": more})
            self._refused = state
            return False
        self._state = state
        self._log.info("TLS certificate reloaded", extra=fields)
        return True


def _state_of(files: CertificateFiles | None) -> tuple[tuple[int, int, int], ...] | None:
    """A value that changes when the files are replaced or rewritten. None if they cannot be read."""
    if files is None:
        return None
    try:
        stats = [path.stat() for path in (files.certificate, files.key)]
    except OSError:
        return None
    return tuple((stat.st_ino, stat.st_ctime_ns, stat.st_size) for stat in stats)  # ctime: also when only the permissions change
