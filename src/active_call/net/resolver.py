"""From a SIP next hop to addresses (RFC 3263).

In: a `Target`. Out: addresses in the order in which they are to be tried. Raises TransportError. Host names go through the system's
resolver (A and AAAA); NAPTR and SRV come in by another `LookUp`. Answers are kept for a while, so that the retransmissions of one
request go to one address (RFC 3263 §4.4 wants a transaction to stay where it began).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol

from active_call.base.errors import TransportError
from active_call.base.world import Clock, SystemClock
from active_call.net.addresses import is_ip
from active_call.sip.events import Address, Target, TransportName

DEADLINE_S = 3.0
KEEP_S = 60.0
MAX_KEPT = 1024

DEFAULT_PORTS: dict[TransportName, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.1."""


class LookUp(Protocol):
    """Asks for the addresses of a host name. `port` None: the look-up may find the port too (SRV). Raises OSError."""

    async def __call__(self, host: str, port: int | None, transport: TransportName) -> Sequence[Address]: ...


async def look_up_addresses(host: str, port: int | None, transport: TransportName) -> Sequence[Address]:
    """A and AAAA records and the hosts file, through the system's resolver."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    found = await asyncio.get_running_loop().getaddrinfo(host, port or DEFAULT_PORTS[transport], type=kind)
    return [Address(str(entry[4][0]), int(entry[4][1])) for entry in found]


class Resolver:
    """Resolves next hops, with a deadline and a memory."""

    def __init__(self, *, look_up: LookUp = look_up_addresses, deadline_s: float = DEADLINE_S, clock: Clock | None = None) -> None:
        self._look_up = look_up
        self._deadline_s = deadline_s
        self._clock = clock or SystemClock()
        self._kept: dict[tuple[str, int | None, TransportName], tuple[float, list[Address]]] = {}

    def known(self, target: Target) -> list[Address] | None:
        """The answer, where it takes no question: an address literal, or what was asked a moment ago."""
        host = target.host.strip("[]")
        if is_ip(host):
            return [Address(host, target.port or DEFAULT_PORTS[target.transport])]
        kept = self._kept.get((host.lower(), target.port, target.transport))
        return kept[1] if kept is not None and self._clock.now() < kept[0] else None

    async def resolve(self, target: Target) -> list[Address]:
        """All addresses of `target`, without repetitions; at least one. Raises TransportError."""
        known = self.known(target)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await self._look_up(target.host, target.port, target.transport)
        except TimeoutError as error:
            raise TransportError(f"no answer from DNS within {self._deadline_s:g} s", where=target.host) from error
        except (OSError, UnicodeError) as error:
            raise TransportError(f"the name cannot be resolved: {error}", where=target.host) from error
        addresses = list(dict.fromkeys(found))
        if not addresses:
            raise TransportError("the name has no address", where=target.host)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[(target.host.lower(), target.port, target.transport)] = (self._clock.now() + KEEP_S, addresses)
        return addresses
