"""Locating SIP servers (RFC 3263 §4, RFC 2782), as a pure generator: it yields queries and is sent the answers.

In: a host from a URI, an optional port, the usable transports. Yields the queries of each step together. Returns the addresses in the order
in which they are tried. Raises TransportError.

    no transport and no port named   NAPTR of the host           without any: SRV for each transport that we support
    no port named                    SRV of the transport        without any: A/AAAA of the host, default port of the transport
    port named, or address literal   A/AAAA of the host

A step without an answer counts as one without records, because the names of carriers also have plain addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from active_call.base.errors import TransportError
from active_call.net.dns_client import NaptrRecord, Record, SrvRecord
from active_call.sip.events import TransportName

DEFAULT_PORTS: dict[TransportName, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.1."""

MAX_PLACES = 8
"""Maximum number of addresses per look-up: at 4 s each, all are tried within half a minute."""

_SRV_PREFIX: dict[TransportName, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"""RFC 3263 §4.1. A WebSocket server is found by its host alone (RFC 6455 §3)."""

_SERVICES: dict[str, TransportName] = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
"""RFC 3263 §4.1, §10."""

Kind = Literal["NAPTR", "SRV", "ADDRESS"]
Question = tuple[str, Kind]
Answers = Mapping[Question, Sequence[Record | str]]
"""Records for NAPTR and SRV, address literals for ADDRESS."""


class Place(Struct, frozen=True):
    """One address to try."""

    transport: TransportName
    address: str
    port: int


_Hosts = list[tuple[TransportName, str, int]]
Uniform = Callable[[float, float], float]
Steps = Generator[tuple[Question, ...], Answers, list[Place]]


def locate(host: str, port: int | None, transports: Sequence[TransportName], uniform: Uniform) -> Steps:
    """See the module. If DNS leaves the choice among `transports`, the first one is used."""
    if port is not None:
        hosts: _Hosts = [(transports[0], host, port)]
    else:
        hosts = yield from _by_service(host, transports, uniform)
    names = tuple(dict.fromkeys(name for _, name, _ in hosts))[:MAX_PLACES]
    answers = yield tuple((name, "ADDRESS") for name in names)
    places = [
        Place(transport, str(address), number) for transport, name, number in hosts for address in (answers.get((name, "ADDRESS")) or ())
    ]
    if not places:
        raise TransportError("the name has no address", where=host)
    return list(dict.fromkeys(places))[:MAX_PLACES]


def _by_service(host: str, transports: Sequence[TransportName], uniform: Uniform) -> Generator[tuple[Question, ...], Answers, _Hosts]:
    """Host names with transport and port, from NAPTR and SRV."""
    services = yield from _services(host, transports)
    answers = yield tuple((name, "SRV") for _, name in services)
    hosts: _Hosts = []
    is_denied = False
    for transport, name in services:
        records = [record for record in answers.get((name, "SRV")) or () if isinstance(record, SrvRecord)]
        if [record.target for record in records] == [""]:
            is_denied = True
            continue
        hosts += [(transport, record.target, record.port) for record in in_order(records, uniform) if record.target]
    if not hosts and is_denied:
        raise TransportError(f"the domain says that it has no SIP service over {' or '.join(transports)}", where=host)
    return hosts or [(transports[0], host, DEFAULT_PORTS[transports[0]])]


def _services(host: str, transports: Sequence[TransportName]) -> Generator[tuple[Question, ...], Answers, list[tuple[TransportName, str]]]:
    """SRV names in the order of use, each with its transport (§4.1)."""
    if len(transports) > 1:
        answers = yield ((host, "NAPTR"),)
        records = [record for record in answers.get((host, "NAPTR")) or () if isinstance(record, NaptrRecord)]
        found = []
        for record in sorted(records, key=lambda entry: (entry.order, entry.preference)):
            transport = _SERVICES.get(record.service.lower())
            if transport is not None and transport in transports and record.flags.lower() == "s" and record.replacement:
                found.append((transport, record.replacement))
        if found:
            return found
    return [(transport, f"{_SRV_PREFIX[transport]}.{host}") for transport in transports if transport in _SRV_PREFIX]


def in_order(records: Sequence[SrvRecord], uniform: Uniform) -> list[SrvRecord]:
    """The records by priority; equal priorities in random order by weight (RFC 2782, "Weight")."""
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in records}):
        # Records with weight 0 come first, which gives them a small chance.
        left = sorted((record for record in records if record.priority == priority), key=lambda record: record.weight > 0)
        while left:
            drawn = uniform(0.0, float(sum(record.weight for record in left)))
            chosen = next(index for index in range(len(left)) if sum(record.weight for record in left[: index + 1]) >= drawn)
            ordered.append(left.pop(chosen))
    return ordered
