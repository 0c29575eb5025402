"""What an operator wants to know at three in the morning: each check looks at one thing and says it in a line.

A Config enters, `Finding`s leave. A finding is `ok`, `warn` (it runs, but a carrier may not like it) or `fail` (it will not work). Nothing
is changed: ports are tried and let go, names are looked up, engines are made and not started.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from active_call.agent.parser import parse_playbook
from active_call.base.errors import ActiveCallError
from active_call.base.world import World
from active_call.call.options import choose_speech, merged
from active_call.contract.options import AsrOption, TtsOption
from active_call.legs.sip import SOMEWHERE_PUBLIC
from active_call.net.addresses import is_ip, is_wildcard, local_address_towards
from active_call.net.resolver import Resolver
from active_call.providers.base import Services
from active_call.providers.local_engines import EngineProcesses
from active_call.providers.registry import create_recogniser, create_responder, create_synthesiser
from active_call.providers.settings import LlmSettings
from active_call.server.config import default_option
from active_call.server.config_sections import LocalCallRecord, PlaybookHandler
from active_call.server.listening import why_not_free
from active_call.server.playbook_files import PLAYBOOK_FOLDERS, find_playbook
from active_call.server.trunk_sections import host_of
from active_call.server.trunk_setup import accounts, active_trunks, trunk_warnings
from active_call.sip.events import LookUp

if TYPE_CHECKING:
    from active_call.server.config import Config

Level = Literal["ok", "warn", "fail"]
EXPIRES_SOON_DAYS = 21
PORTS_A_CALL = 2
FILES_A_CALL = 3
"""Sockets of RTP and RTCP, and a recording."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    level: Level
    text: str


async def findings(config: Config, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Every check in turn."""
    for check in (_ports, _certificate, _addresses, _callers, _rtp_range, _playbooks, _files, _http):
        for finding in check(config, environment):
            yield finding
    async with httpx.AsyncClient() as http:
        services = Services(World(), http, EngineProcesses(), environment)
        for finding in await asyncio.to_thread(lambda: list(_engines(config, services))):
            yield finding
        await services.local.close()
    async for finding in _names(config):
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
            yield Finding("ports", "warn", f"{name} {host}:{port} is served already: {why}")
        else:
            yield Finding("ports", "fail", f"{name} {host}:{port} cannot be opened: {why}")


def _certificate(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    if (config.tls_port is None and config.wss_port is None) or config.tls_cert_file is None:
        yield Finding("certificate", "ok", "none is needed: tls_port is not set (carriers want TLS in production)")
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
        yield Finding("certificate", "warn", f"{about} expires in {days} days; renewed files are picked up by themselves")
    else:
        yield Finding("certificate", "ok", f"{about}, good for {days} days")
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        yield Finding("certificate", "warn", "its key is not RSA: with Twilio there is no common cipher suite under TLS 1.2")
    if certificate.issuer == certificate.subject:
        yield Finding("certificate", "warn", "it is self-signed: fine for tests, carriers may refuse it; see docs/twilio.md for certbot")


def certificate_names(certificate: x509.Certificate) -> list[str]:
    """The names that a certificate is for: subject alternative names, else the common name."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return [str(entry.value) for entry in extension]


def _addresses(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    own = local_address_towards(SOMEWHERE_PUBLIC) if is_wildcard(config.addr) else config.addr
    if config.external_ip == "auto":
        yield Finding("address", "ok", f"the public address is learnt by STUN when the server starts; this machine is {own}")
        return
    if config.public_ip is None:
        if ipaddress.ip_address(own).is_global:
            yield Finding("address", "ok", f"peers are told {own}, this machine's own public address")
        else:
            yield Finding("address", "warn", f"peers are told {own}, which the internet cannot reach: set external_ip for carriers")
        return
    told = ipaddress.ip_address(config.public_ip)
    if not told.is_global:
        yield Finding("address", "warn", f"external_ip {told} is no public address: only peers in that network reach it")
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
        yield Finding("callers", "ok", "anybody may call in; nothing here is reachable from outside")


def _rtp_range(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    start, end = config.rtp_start_port, config.rtp_end_port
    n_calls = (end - start + 1) // PORTS_A_CALL
    text = f"udp {config.rtp_address}:{start}-{end}, room for {n_calls} calls; a port rests 30 s after its call"
    if start <= config.udp_port <= end:
        yield Finding("rtp", "fail", f"{text}; SIP's own udp_port {config.udp_port} lies inside")
    elif n_calls < 20:
        yield Finding("rtp", "warn", f"{text}: that is few")
    else:
        yield Finding("rtp", "ok", f"{text}; open it in the firewall")
    n_files, _limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_files != resource.RLIM_INFINITY and n_files < min(n_calls, 512) * FILES_A_CALL:
        yield Finding("rtp", "warn", f"a process may open {n_files} files, enough for about {n_files // FILES_A_CALL} calls: ulimit -n")


def _playbooks(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    handler = config.handler
    named: list[str] = []
    if isinstance(handler, PlaybookHandler):
        named = list(dict.fromkeys(name for name in (*(rule.playbook for rule in handler.rules), handler.default) if name))
    paths = {name: find_playbook(name, config) for name in named}
    others = {str(path): path for folder in PLAYBOOK_FOLDERS for path in sorted(folder.glob("*.md"))}
    n_good = 0
    for name, path in {**paths, **{key: path for key, path in others.items() if path not in paths.values()}}.items():
        try:
            parse_playbook(path.read_text(encoding="utf-8"), file=str(path), environment=environment)
        except (ActiveCallError, OSError, UnicodeDecodeError) as error:
            yield Finding("playbooks", "fail" if name in paths else "warn", f"{error}")
        else:
            n_good += 1
    if handler is None:
        yield Finding("playbooks", "warn", "nobody takes inbound calls: set [handler]")
    yield Finding("playbooks", "ok", f"{n_good} playbook(s) can be read")


def _files(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    wanted = {"records": config.callrecord.root if isinstance(config.callrecord, LocalCallRecord) else ""}
    if config.recording.enabled:
        wanted["recordings"] = config.recording.path
    for what, name in wanted.items():
        if not name:
            continue
        folder = Path(name)
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if os.access(existing, os.W_OK):
            yield Finding("files", "ok", f"{what} go to {folder}")
        else:
            yield Finding("files", "fail", f"{what} cannot be written: {existing} belongs to somebody else")


def _http(config: Config, _: Mapping[str, str]) -> Iterator[Finding]:
    if config.http_token:
        yield Finding("http", "ok", "calls are controlled by whoever has http_token")
    elif config.http_host in ("127.0.0.1", "::1", "localhost"):
        yield Finding("http", "ok", f"{config.http_addr}, this machine only")
    else:
        yield Finding("http", "warn", f"{config.http_addr} is open, calls only to this machine: set http_token, also behind a proxy")


def _engines(config: Config, services: Services) -> Iterator[Finding]:
    """Whether the engines that calls need can be had; importing an adapter may take a second."""
    environment = services.environment
    wanted: dict[str, tuple[AsrOption, TtsOption, LlmSettings | None]] = {}
    handler = config.handler
    if isinstance(handler, PlaybookHandler):
        for name in (*(rule.playbook for rule in handler.rules), handler.default):
            try:
                book = parse_playbook(
                    find_playbook(name or "", config).read_text(encoding="utf-8"), file=str(name), environment=environment
                )
            except (ActiveCallError, OSError, UnicodeDecodeError):
                continue
            choice = choose_speech(merged(book.option, default_option(config)), book)
            wanted[str(name)] = (choice.asr, choice.tts, choice.llm)
    else:
        wanted["calls"] = (config.asr or AsrOption(), config.tts or TtsOption(), None)
    makers: list[tuple[str, Callable[[tuple[AsrOption, TtsOption, LlmSettings | None]], object]]] = [
        ("speech recognition", lambda chosen: create_recogniser(chosen[0], services)),
        ("speech synthesis", lambda chosen: create_synthesiser(chosen[1], services)),
        ("language model", lambda chosen: create_responder(chosen[2], services) if chosen[2] is not None else None),
    ]
    for name, chosen in wanted.items():
        found = []
        for what, make in makers:
            try:
                engine = make(chosen)
            except ActiveCallError as error:
                yield Finding("engines", "fail", f"{name}: {what}: {error}")
            else:
                found.append(f"{what} {getattr(engine, 'name', 'none')}" if engine is not None else f"no {what}")
        if len(found) == len(makers):
            yield Finding("engines", "ok", f"{name}: {', '.join(found)}")


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
