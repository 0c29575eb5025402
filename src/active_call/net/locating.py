"""Locating SIP servers (RFC 3263 §4, RFC 2782), as a procedure that asks and is told: pure, and so the same whoever answers.

In: a host as a URI gives it, perhaps a port, the transports that may be used. Yields the questions of each step, all at once; is sent the
answers. Returns places in the order in which they are to be tried; raises TransportError.

    no transport and no port named   NAPTR of the host           without any: SRV for each transport that we speak
    no port named                    SRV of the transport        without any: A/AAAA of the host, at the transport's own port
    port named, or address literal   A/AAAA of the host

A step that nobody answers counts as one without records: carriers' names end in addresses either way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from active_call.base.errors import TransportError
from active_call.net.dns_client import NaptrRecord, Record, SrvRecord
from active_call.sip.events import TransportName

DEFAULT_PORTS: dict[TransportName, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.1."""

MAX_PLACES = 8
"""Places of one look-up: at 4 s each, all are tried within half a minute."""

_SRV_PREFIX: dict[TransportName, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"""RFC 3263 §4.1. A WebSocket is found by its host alone (RFC 6455 §3)."""

_SERVICES: dict[str, TransportName] = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
"""RFC 3263 §4.1, §10."""

Kind = Literal["NAPTR", "SRV", "ADDRESS"]
Question = tuple[str, Kind]
Answers = Mapping[Question, Sequence[Record | str]]
"""Records for NAPTR and SRV, address literals for ADDRESS."""


@dataclass(frozen=True, slots=True)
class Place:
    """One address to try."""

    transport: TransportName
    address: str
    port: int


_Hosts = list[tuple[TransportName, str, int]]
Uniform = Callable[[float, float], float]
Steps = Generator[tuple[Question, ...], Answers, list[Place]]


def locate(host: str, port: int | None, transports: Sequence[TransportName], uniform: Uniform) -> Steps:
    """See the module. Of several `transports` the first is taken where DNS leaves the choice."""
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
    """Host names with transport and port, by NAPTR and SRV."""
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
    """SRV names in the order in which they are to be used, with the transport that each stands for (§4.1)."""
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
    """The records by priority, and by chance according to their weights among equals (RFC 2782, "Weight")."""
    ordered: list[SrvRecord] = []
    for priority in sorted({record.priority for record in records}):
        # Those of weight 0 stand first, which gives them a small chance.
        left = sorted((record for record in records if record.priority == priority), key=lambda record: record.weight > 0)
        while left:
            drawn = uniform(0.0, float(sum(record.weight for record in left)))
            chosen = next(index for index in range(len(left)) if sum(record.weight for record in left[: index + 1]) >= drawn)
            ordered.append(left.pop(chosen))
    return ordered
