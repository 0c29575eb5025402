"""Checks that involve several keys, or the machine: files, ports, addresses.

A Config with individually valid values enters, with its document; nothing leaves, or a ConfigError in plain words.
"""

from __future__ import annotations

import ipaddress
import ssl
from itertools import combinations
from pathlib import Path

from active_call.base.errors import ConfigError, PlaybookError
from active_call.providers.entry_points import all_providers
from active_call.providers.key_sets import unknown_set, variables_of_set
from active_call.server.config import sections
from active_call.server.config.config import Config
from active_call.server.config.document import Document, KeyPath
from active_call.server.config.values import parse_host_port
from active_call.server.playbook_files import STARTER_PLAYBOOK, find_playbook
from active_call.store.recordings import check_pattern
from active_call.store.webhook_delivery import signature

WILDCARDS = ("0.0.0.0", "::")


def check(config: Config, document: Document, *, starter_playbook: bool = False) -> None:
    """Raise ConfigError for the first problem; with `starter_playbook` a missing `greeting.md` is allowed."""
    _check_external_ip(config, document)
    _check_http(config, document)
    _check_http_access(config, document)
    _check_webhooks(config, document)
    _check_rtp_range(config, document)
    _check_port_clashes(config, document)
    _check_tls(config, document)
    _check_playbooks(config, document, STARTER_PLAYBOOK if starter_playbook else "")
    _check_recording(config, document)
    _check_trunks(config, document)
    _check_keys(config, document)
    _check_records(config, document)


def _check_records(config: Config, document: Document) -> None:
    """Types and addresses of databases, checked before anything is started."""
    settings = config.callrecord
    key = "url" if isinstance(settings, sections.DatabaseCallRecord) else "database"
    text = getattr(settings, key, "")
    if settings.type == "s3":
        raise document.error(("callrecord", "type"), "'s3' is not supported yet in this version; use local, http or database")
    if not text:
        return
    from active_call.store.database.url import parse_database_url

    try:
        parse_database_url(text)
    except ConfigError as error:
        raise document.error(("callrecord", key), error.reason) from None


def _check_trunks(config: Config, document: Document) -> None:
    """Names must be unique: they identify trunks in logs and records."""
    seen: dict[str, int] = {}
    for index, trunk in enumerate(config.trunks):
        first = seen.setdefault(trunk.name, index)
        if first != index:
            raise document.error(("trunks", index, "name"), f"trunks[{first}] already has the name {trunk.name!r}")


def _check_keys(config: Config, document: Document) -> None:
    """Check the provider names in key sets, and the key sets of trunks."""
    for name, table in config.keys.items():
        try:
            variables_of_set(name, table, all_providers())
        except ConfigError as error:
            raise document.error(tuple(error.key.split(".", 2)), error.reason) from error
    for index, trunk in enumerate(config.trunks):
        if trunk.keys is not None and trunk.keys not in config.keys:
            raise document.error(("trunks", index, "keys"), unknown_set(trunk.keys, config.keys))


def _check_recording(config: Config, document: Document) -> None:
    try:
        check_pattern(config.recording.filename_pattern)
    except ConfigError as error:
        raise document.error(("recording", "filename_pattern"), error.reason) from error


def _check_external_ip(config: Config, document: Document) -> None:
    address = config.external_ip
    if address is None or address == "auto":
        return
    try:
        ip = ipaddress.ip_address(address)
    except ValueError as error:
        raise document.error(("external_ip",), f"expected an IP address without a port, or 'auto', found {address!r}") from error
    if ip.is_unspecified or ip.is_multicast:
        raise document.error(("external_ip",), f"expected the address at which peers reach this server, found {address!r}")


def _check_http(config: Config, document: Document) -> None:
    try:
        parse_host_port(config.http_addr)
    except ValueError as error:
        raise document.error(("http_addr",), str(error)) from error


def _check_http_access(config: Config, document: Document) -> None:
    secrets = [config.http_token, *(token.token for token in config.http_tokens)]
    for n, token in enumerate(config.http_tokens):
        if secrets.index(token.token) <= n:
            raise document.error(("http_tokens", n, "token"), "the same token is used twice; each entry needs its own")
    for key, value in (("tls_cert_file", config.tls_cert_file), ("tls_key_file", config.tls_key_file)):
        if config.http_tls and not value:
            raise document.error(("http_tls",), f"http_tls needs tls_cert_file and tls_key_file; {key} is missing")


def _check_webhooks(config: Config, document: Document) -> None:
    names = [webhook.name for webhook in config.webhooks]
    for n, webhook in enumerate(config.webhooks):
        if names.index(webhook.name) < n:
            raise document.error(("webhooks", n, "name"), f"there are two webhooks named {webhook.name!r}; each needs its own name")
        try:
            signature(webhook.secret, "", 0, b"")
        except ValueError as error:
            raise document.error(("webhooks", n, "secret"), f"expected base64 after whsec_: {error}") from error


def _check_rtp_range(config: Config, document: Document) -> None:
    start, end = config.rtp_start_port, config.rtp_end_port
    if start < 1024:
        raise document.error(("rtp_start_port",), f"expected a port of 1024 or above, found {start}")
    if start % 2:
        raise document.error(("rtp_start_port",), f"expected an even port (RTP is even, RTCP the next), found {start}")
    if end < start:
        raise document.error(("rtp_end_port",), f"the range is reversed: rtp_end_port {end} is below rtp_start_port {start}")
    if end < start + 1:
        raise document.error(("rtp_end_port",), f"the range {start}-{end} is too small: one call needs two ports")


def _check_port_clashes(config: Config, document: Document) -> None:
    """Every TCP listener must have its own port; UDP is used only by SIP, and the RTP range must not contain it."""
    http_host, http_port = parse_host_port(config.http_addr)
    listening = [("udp_port", config.addr, config.udp_port), ("http_addr", http_host, http_port)]
    if config.tls_port is not None:
        listening.insert(1, ("tls_port", config.addr, config.tls_port))
    web_sockets = (("ws_port", config.ws_port), ("wss_port", config.wss_port))
    listening += [(key, config.addr, port) for key, port in web_sockets if port is not None]
    for (first, first_host, first_port), (second, second_host, second_port) in combinations(listening, 2):
        same_host = first_host == second_host or first_host in WILDCARDS or second_host in WILDCARDS
        if first_port == second_port != 0 and same_host:
            what = "udp_port opens TCP too, " if first == "udp_port" else ""
            raise document.error((second,), f"port {second_port} is already used: {what}{first} is {first_port} as well")


def _check_tls(config: Config, document: Document) -> None:
    for port_key, port in (("tls_port", config.tls_port), ("wss_port", config.wss_port)):
        for key, value in (("tls_cert_file", config.tls_cert_file), ("tls_key_file", config.tls_key_file)):
            if port is not None and not value:
                place: KeyPath = (key,) if document.line_of((key,)) else (port_key,)
                raise document.error(place, f"{port_key} {port} needs tls_cert_file and tls_key_file; {key} is missing")
    for key in ("tls_cert_file", "tls_key_file", "tls_ca_file", "tls_client_cert_file", "tls_client_key_file"):
        _check_readable(key, getattr(config, key), document)
    _check_pair("tls", config.tls_cert_file, config.tls_key_file, document)
    _check_pair("tls_client", config.tls_client_cert_file, config.tls_client_key_file, document)
    if config.tls_client_key_file and not config.tls_client_cert_file:
        raise document.error(("tls_client_key_file",), "tls_client_cert_file is missing")
    if config.tls_ca_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(config.tls_ca_file)
        except ssl.SSLError as error:
            raise document.error(("tls_ca_file",), f"{config.tls_ca_file} has no PEM certificates: {error.reason or error}") from error


def _check_readable(key: str, name: str | None, document: Document) -> None:
    if name is None:
        return
    try:
        with Path(name).open("rb") as file:
            file.read(1)
    except FileNotFoundError as error:
        raise document.error((key,), f"there is no file {name} (looked for {Path(name).absolute()})") from error
    except OSError as error:
        raise document.error((key,), f"{name} cannot be read: {error.strerror}") from error


def _check_pair(prefix: str, certificate: str | None, key: str | None, document: Document) -> None:
    """Whether certificate and key are PEM and belong together."""
    if certificate is None or (key is None and prefix == "tls"):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            place, reason = f"{prefix}_key_file", f"{key} is not the key of {certificate}"
        else:
            place, reason = (
                f"{prefix}_cert_file",
                f"{certificate} and {key} are not a certificate and its key in PEM: {error.reason or error}",
            )
        raise document.error((place,), reason) from error
    except ValueError as error:
        raise document.error((f"{prefix}_key_file",), f"{key} is protected by a password; store it without one") from error


def _no_password() -> bytes:
    """OpenSSL would otherwise prompt on the terminal."""
    raise ValueError("key file is encrypted")


def _check_playbooks(config: Config, document: Document, may_be_missing: str) -> None:
    if not isinstance(config.handler, sections.PlaybookHandler):
        return
    handler = config.handler
    if handler.default is None and not handler.rules:
        raise document.error(("handler",), "a playbook handler needs `default`, `[[handler.rules]]` or both")
    named: list[tuple[KeyPath, str]] = [(("handler", "rules", i, "playbook"), rule.playbook) for i, rule in enumerate(handler.rules)]
    if handler.default is not None:
        named.insert(0, (("handler", "default"), handler.default))
    for place, name in named:
        try:
            find_playbook(name, config)
        except PlaybookError as error:
            if name != may_be_missing:
                raise document.error(place, error.reason) from error
