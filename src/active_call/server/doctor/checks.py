"""The doctor's checks for operators: each check covers one subject and reports it in a line.

A Config enters, `Finding`s leave. A finding is `ok`, `warn` (it runs, but a carrier may object) or `fail` (it will not work). Nothing
is changed: ports are opened and closed, names are looked up, engines are created and not started.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from active_call.agent.playbook import findings as entries
from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import ActiveCallError, PlaybookError
from active_call.base.world import World
from active_call.call.opening.options import choose_speech, merged
from active_call.contract.options import AsrOption, CallOption, TtsOption
from active_call.legs.sip.gateway import SOMEWHERE_PUBLIC
from active_call.net.addresses import is_ip, is_wildcard, local_address_towards
from active_call.net.descriptors import open_files_limit
from active_call.net.resolver import Resolver
from active_call.providers.base import Services
from active_call.providers.local.local_engines import EngineProcesses
from active_call.server.capacity import FILES_A_CALL, PORTS_A_CALL, capacity_warnings, n_media_processes
from active_call.server.commands.playbook import examine
from active_call.server.config.config import default_option
from active_call.server.config.sections import PlaybookHandler
from active_call.server.config.trunk_sections import host_of
from active_call.server.doctor.engines import engine_findings
from active_call.server.doctor.findings import Finding, Level
from active_call.server.doctor.names import certificate_findings, certificate_names
from active_call.server.doctor.tools import tool_findings
from active_call.server.listening import why_not_free
from active_call.server.playbook_files import PLAYBOOK_FOLDERS, find_playbook
from active_call.server.setup.mcp import mcp_settings
from active_call.server.setup.trunks import accounts, active_trunks, trunk_warnings
from active_call.sip.events import LookUp

if TYPE_CHECKING:
    from active_call.server.config.config import Config

EXPIRES_SOON_DAYS = 21


async def findings(config: Config, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """All checks in order."""
    for check in (_ports, _certificate, _addresses, _callers, _rtp_range, _playbooks, _tools, _files, _http):
        for finding in check(config, environment):
            yield finding
    async with httpx.AsyncClient() as http:
        services = Services(World(), http, EngineProcesses(), environment)
        for finding in await asyncio.to_thread(lambda: list(_engines(config, services))):
            yield finding
        await services.local.close()
    async for finding in _names(config):
        yield finding
    async for finding in certificate_findings(config, Resolver):
        yield finding


def _ports(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    streams = {"tcp": config.udp_port, "tls": config.tls_port, "ws": config.ws_port, "wss": config.wss_port}
    wanted: list[tuple[str, Literal["udp", "tcp"], str, int]] = [("SIP udp", "udp", config.addr, config.udp_port)]
    wanted += [(f"SIP {name}", "tcp", config.addr, port) for name, port in streams.items() if port is not None]
    wanted.append(("HTTP", "tcp", config.http_host, config.http_port))
    for name, kind, host, port in wanted:
        why = why_not_free(kind, host, port)
        if not why:
            yield Finding("ports", "ok", f"{name} {host}:{port} is free")
        elif "active-call" in why:
            yield Finding("ports", "warn", f"{name} {host}:{port} is already in use: {why}")
        else:
            yield Finding("ports", "fail", f"{name} {host}:{port} cannot be opened: {why}")


def _certificate(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    if (config.tls_port is None and config.wss_port is None) or config.tls_cert_file is None:
        yield Finding("certificate", "ok", "not needed: tls_port is not set (carriers want TLS in production)")
        return
    try:
        certificate = x509.load_pem_x509_certificate(Path(config.tls_cert_file).read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("certificate", "fail", f"{config.tls_cert_file} cannot be read: {error}")
        return
    names = certificate_names(certificate)
    days = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    about = f"{config.tls_cert_file} for {', '.join(names) or 'no name'}"
    if days < 0:
        yield Finding("certificate", "fail", f"{about} has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    elif days < EXPIRES_SOON_DAYS:
        yield Finding("certificate", "warn", f"{about} expires in {days} days; the server picks up renewed files")
    else:
        yield Finding("certificate", "ok", f"{about}, good for {days} days")
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        yield Finding("certificate", "warn", "its key is not RSA: there is no common cipher suite with Twilio under TLS 1.2")
    if certificate.issuer == certificate.subject:
        yield Finding("certificate", "warn", "it is self-signed: fine for tests, but carriers may refuse it; use certbot")


def _addresses(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    own = local_address_towards(SOMEWHERE_PUBLIC) if is_wildcard(config.addr) else config.addr
    if config.external_ip == "auto":
        yield Finding("address", "ok", f"the server learns its public address by STUN at the start; this machine is {own}")
        return
    if config.public_ip is None:
        if ipaddress.ip_address(own).is_global:
            yield Finding("address", "ok", f"peers get {own}, this machine's own public address")
        else:
            yield Finding("address", "warn", f"peers get {own}, which the internet cannot reach: set external_ip for carriers")
        return
    told = ipaddress.ip_address(config.public_ip)
    if not told.is_global:
        yield Finding("address", "warn", f"external_ip {told} is not a public address: only peers in that network can reach it")
    elif str(told) == own:
        yield Finding("address", "ok", f"external_ip {told} is this machine's own address")
    else:
        yield Finding("address", "ok", f"external_ip {told}; this machine is {own}: forward SIP and RTP ports to it")


def _callers(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    own = [*([config.public_ip] if config.public_ip else []), local_address_towards(SOMEWHERE_PUBLIC)]
    told = trunk_warnings(config, own)
    for warning in told:
        yield Finding("callers", "warn", warning)
    listed = [trunk.name for trunk in active_trunks(config) if trunk.allow]
    if listed:
        yield Finding("callers", "ok", f"only these may call in: {', '.join(listed)} (active-call doctor --explain IP tells more)")
    elif not told:
        yield Finding("callers", "ok", "anybody who reaches this server may call in; peers get no public address")


def _rtp_range(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    start, end = config.rtp_start_port, config.rtp_end_port
    n_calls = (end - start + 1) // PORTS_A_CALL
    text = f"udp {config.rtp_address}:{start}-{end}, room for {n_calls} calls; a port rests 30 s after its call"
    if start <= config.udp_port <= end:
        yield Finding("rtp", "fail", f"{text}; udp_port {config.udp_port} of SIP is inside this range")
    elif n_calls < 20:
        yield Finding("rtp", "warn", f"{text}: this range is small")
    else:
        yield Finding("rtp", "ok", f"{text}; open it in the firewall")
    for warning in capacity_warnings(config, open_files_limit(), n_media_processes(config)):
        yield Finding("rtp", "warn", warning)
    n_files, _limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files != resource.RLIM_INFINITY and n_files < min(n_calls, 512) * FILES_A_CALL:
        yield Finding("rtp", "warn", f"a process may open {n_files} files, enough for about {n_files // FILES_A_CALL} calls: ulimit -n")


def _playbooks(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The findings of `playbook check`; a mistake in a playbook that takes no calls is only a warning."""
    handler = config.handler
    named: list[str] = []
    if isinstance(handler, PlaybookHandler):
        named = list(dict.fromkeys(name for name in (*(rule.playbook for rule in handler.rules), handler.default) if name))
    paths = {name: find_playbook(name, config) for name in named}
    others = {str(path): path for folder in PLAYBOOK_FOLDERS for path in sorted(folder.glob("*.md"))}
    n_good = 0
    for name, path in {**paths, **{key: path for key, path in others.items() if path not in paths.values()}}.items():
        reading = examine(path, environment, config.keys)
        mistake: Level = "fail" if name in paths else "warn"
        found = [entries.Finding(0, reading)] if isinstance(reading, str) else reading.findings.in_order
        for entry in found:
            yield Finding("playbooks", mistake if entry.is_error else "warn", str(PlaybookError(str(path), entry.line, entry.text)))
        n_good += not any(entry.is_error for entry in found)
    if handler is None:
        yield Finding("playbooks", "warn", "nobody takes inbound calls: set [handler]")
    if n_good:
        yield Finding("playbooks", "ok", f"{n_good} playbook(s) without a mistake")


def _tools(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    handler = config.handler
    books = {}
    if isinstance(handler, PlaybookHandler):
        for name in dict.fromkeys(name for name in (*(rule.playbook for rule in handler.rules), handler.default) if name):
            reading = examine(find_playbook(name, config), environment)
            if not isinstance(reading, str):
                books[name] = reading.playbook
    yield from tool_findings(books, mcp_settings(config))


def _files(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    wanted = {"records": str(getattr(config.callrecord, "root", "")), "sounds": config.media_cache_path}
    if config.recording.enabled:
        wanted["recordings"] = config.recording.path
    if config.log_file:
        folder = Path(config.log_file).absolute().parent
        why = why_not_writable(folder) if folder.is_dir() else f"there is no folder {folder}"
        if why:
            yield Finding("files", "fail", f"log_file: {why}")
        else:
            yield Finding("files", "ok", f"the log is written to {config.log_file}")
    for what, name in wanted.items():
        if not name:
            continue
        why = why_not_writable(Path(name))
        if why:
            yield Finding("files", "fail", f"{what} cannot be written to {name}: {why}")
        else:
            yield Finding("files", "ok", f"{what} are written to {name}")


def why_not_writable(folder: Path) -> str:
    """Why no file can be created in `folder`, which is created when needed; empty if it can. Tries it, and removes the file."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        return f"{existing} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: {(error.strerror or str(error)).lower()}"


def _http(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    if config.http_token or config.http_tokens:
        yield Finding("http", "ok", "holders of http_token may control calls")
    elif config.http_host in ("127.0.0.1", "::1", "localhost"):
        yield Finding("http", "ok", f"{config.http_addr}, this machine only")
    else:
        yield Finding("http", "warn", f"{config.http_addr} is open, but only this machine may control calls: set http_token")


def _engines(config: Config, services: Services) -> Iterator[Finding]:
    """Whether the needed engines are available and match; importing an adapter may take a second."""
    handler = config.handler
    if not isinstance(handler, PlaybookHandler):
        speech = choose_speech(CallOption(asr=config.asr or AsrOption(), tts=config.tts or TtsOption()), None)
        yield from engine_findings("calls", speech, "", services)
        return
    for name in dict.fromkeys((*(rule.playbook for rule in handler.rules), handler.default)):
        try:
            text = find_playbook(name or "", config).read_text(encoding="utf-8")
            book = parse_playbook(text, file=str(name), environment=services.environment)
        except (ActiveCallError, OSError, UnicodeDecodeError):
            continue
        choice = choose_speech(merged(book.option, default_option(config)), book)
        yield from engine_findings(str(name), choice, book.llm.language or "", services)


async def _names(config: Config) -> AsyncIterator[Finding]:
    """Whether the hosts of registrars and trunks have addresses."""
    hosts = {account.host: f"registrar of {account.label}" for account in accounts(config)}
    hosts |= {trunk.host: f"trunk {trunk.name}" for trunk in active_trunks(config) if trunk.host}
    hosts |= {host_of(account.proxy): f"proxy of {account.label}" for account in accounts(config) if account.proxy}
    resolver = Resolver()
    for host, whose in hosts.items():
        if is_ip(host):
            continue
        try:
            places = await resolver.resolve(LookUp(0, host, None, ("udp", "tcp", "tls")))
        except ActiveCallError as error:
            yield Finding("names", "fail", f"{whose}: {error}")
        else:
            found = list(dict.fromkeys(place.host for place in places))
            yield Finding("names", "ok", f"{whose}: {host} is {', '.join(found[:4])}{' …' if len(found) > 4 else ''}")
