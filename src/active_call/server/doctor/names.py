"""Whether the certificate names this server as carriers reach it: its public address, or the Contact host of a trunk."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from active_call.base.errors import ActiveCallError
from active_call.legs.sip.rewriting import split_host
from active_call.net.addresses import is_ip
from active_call.net.resolver import Resolver
from active_call.server.doctor.findings import Finding
from active_call.server.setup.trunks import active_trunks
from active_call.sip.events import LookUp

if TYPE_CHECKING:
    from active_call.server.config.config import Config


def certificate_names(certificate: x509.Certificate) -> list[str]:
    """The names in a certificate: subject alternative names, else the common name."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return [str(entry.value) for entry in extension]


async def certificate_findings(config: Config, resolver_type: Callable[[], Resolver] = Resolver) -> AsyncIterator[Finding]:
    """Compares the advertised addresses with the certificate."""
    if (config.tls_port is None and config.wss_port is None) or config.tls_cert_file is None:
        return
    try:
        pem = await asyncio.to_thread(Path(config.tls_cert_file).read_bytes)
        names = certificate_names(x509.load_pem_x509_certificate(pem))
    except (OSError, ValueError):
        return  # reported by the certificate's own check
    listed = ", ".join(names) or "no name"
    for trunk in active_trunks(config):
        host = split_host(trunk.contact_host)[0] if trunk.contact_host else ""
        if host and not any(_is_named(host, name) for name in names):
            reason = f"trunk {trunk.name} gets contact_host {host}, but the certificate is for {listed}"
            yield Finding("certificate", "fail", f"{reason}: its TLS connections to us fail")
    if config.public_ip is None or any(trunk.contact_host for trunk in active_trunks(config)):
        return
    if config.public_ip in names or await _leads_to(config.public_ip, names, resolver_type()):
        yield Finding("certificate", "ok", f"it names this server: peers get {config.public_ip}")
    else:
        reason = f"peers reach this server at {config.public_ip}, but the certificate is for {listed}"
        yield Finding("certificate", "fail", f"{reason}: carriers that check names refuse it")


def _is_named(host: str, name: str) -> bool:
    """A wildcard stands for one label (RFC 6125 §6.4.3)."""
    host, name = host.lower().rstrip("."), name.lower().rstrip(".")
    return host == name or (name.startswith("*.") and fnmatch.fnmatch(host, name) and host.count(".") == name.count("."))


async def _leads_to(address: str, names: list[str], resolver: Resolver) -> bool:
    """Whether one of the host names resolves to that address."""
    for name in names:
        if is_ip(name) or "*" in name or name == "localhost":
            continue
        try:
            places = await resolver.resolve(LookUp(0, name, 5061, ("tls",)))
        except ActiveCallError:
            continue
        if any(place.host == address for place in places):
            return True
    return False
