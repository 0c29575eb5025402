"""aioice's agent for one ICE session, limited in what strangers and the browser can make it do (RFC 8445, RFC 7983).

The port of a candidate is open to everybody. STUN messages go to aioice, which authenticates them. Media and DTLS are taken only from
addresses that ICE has proved: from which an authenticated request has arrived (RFC 8445 §7.3), or which have answered a check. Otherwise
one forged DTLS alert would end a handshake.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Self

import aioice

from active_call.base.addresses import Reach, reach_of
from active_call.legs.webrtc.description import MAX_CANDIDATES
from active_call.sdp.media_address import address_refusal

log = logging.getLogger("active_call.webrtc")

GATHER_S: Final = 3.0
"""Timeout for STUN and TURN servers. Later candidates are left out."""
LAST_OF_STUN: Final = 3
"""The highest first byte of a STUN message (RFC 7983 §7)."""
MAX_DATAGRAM_BYTES: Final = 2048
"""Above the MTU of every path of a browser."""
MAX_EARLY: Final = 64
"""Datagrams that arrive before `take` is set: the first flight of a handshake, with retransmissions."""

Address = tuple[Any, ...]


class IceConnection(aioice.Connection):
    """`take` gets the datagrams of proved addresses as they arrive. `peer`: where the browser's signalling comes from; empty: unknown."""

    def __init__(self, *, peer: str = "", **options: Any) -> None:
        super().__init__(ice_controlling=False, **options)
        self.take: Callable[[bytes], None] | None = None
        self._peer = peer
        self._proved: set[Address] = set()
        self._protocols = _GuardedSockets(self._guard)

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: float = GATHER_S) -> list[aioice.Candidate]:
        """Our addresses, and the server candidates that arrived within `GATHER_S`.

        A server without an answer costs only its own candidate.
        """
        del timeout  # aioice's default is longer than an answer may take
        return await super().get_component_candidates(component, addresses, timeout=GATHER_S)  # type: ignore[arg-type]

    def _guard(self, protocol: aioice.ice.StunProtocol) -> None:
        protocol.datagram_received = partial(self._take_datagram, protocol.datagram_received)  # type: ignore[method-assign]

    def _take_datagram(self, take_stun: Callable[[bytes, Address], None], data: Any, address: Address) -> None:
        if data and data[0] > LAST_OF_STUN:
            if len(data) <= MAX_DATAGRAM_BYTES and self._is_proved(address[:2]):
                self._pass_on(data)
            return
        try:
            take_stun(data, address)
        except Exception as error:  # noqa: BLE001 (a wall: aioice raises for attributes of the wrong length)
            log.debug("STUN message ignored", extra={"peer": address[0], "reason": str(error)[:200]})

    def _is_proved(self, address: Address) -> bool:
        if address in self._proved:
            return True
        succeeded = aioice.ice.CandidatePair.State.SUCCEEDED
        if any(pair.remote_addr == address and pair.state is succeeded for pair in self._check_list):
            self._proved.add(address)
            return True
        return False

    def _pass_on(self, data: bytes) -> None:
        if self.take is not None:
            self.take(data)
        elif self._queue.qsize() < MAX_EARLY:
            self._queue.put_nowait((data, 1))

    def data_received(self, data: bytes, component: int) -> None:
        """What begins like a STUN message and is none: ignored."""

    def request_received(self, message: aioice.stun.Message, addr: tuple[str, int], protocol: aioice.ice.StunProtocol) -> None:
        """A request; aioice authenticates it. One without PRIORITY (RFC 8445 §7.3) is ignored."""
        if "PRIORITY" in message.attributes:
            super().request_received(message, addr, protocol)

    def check_incoming(self, message: aioice.stun.Message, addr: tuple[str, int], protocol: aioice.ice.StunProtocol) -> None:
        """An authentic request. Each new source is another candidate that is checked in turn, so their number is limited."""
        is_known = any((one._network_host, one.port) == addr for one in self._remote_candidates)
        if is_known or len(self._remote_candidates) < 2 * MAX_CANDIDATES:
            self._proved.add(addr)
            super().check_incoming(message, addr, protocol)

    async def add_remote_candidate(self, remote_candidate: aioice.Candidate | None) -> None:
        """As aioice. Before a name is looked up, the mDNS socket gets a wall of its own: everybody can send to its port."""
        if remote_candidate is not None and aioice.mdns.is_mdns_hostname(remote_candidate.host):
            guard_mdns(await aioice.ice.get_or_create_mdns_protocol(self))
        await super().add_remote_candidate(remote_candidate)

    def _add_remote_candidate(self, remote_candidate: aioice.Candidate, network_host: str) -> None:
        """A candidate of the browser, with its address if it has a name (mDNS). One to which nothing may be sent is left out."""
        reason = candidate_refusal(remote_candidate, network_host, self._peer)
        if reason:
            log.debug("candidate ignored", extra={"candidate": remote_candidate.to_sdp()[:200], "reason": reason})
        else:
            super()._add_remote_candidate(remote_candidate, network_host)

    async def close(self) -> None:
        """Free all resources."""
        for protocol in self._protocols:
            vars(protocol).pop("datagram_received", None)
        await super().close()
        self._check_list.clear()
        self._protocols = []  # it refers to this object
        self.take = None


class _GuardedSockets(list[aioice.ice.StunProtocol]):
    """The sockets of one session. Each is guarded when aioice adds it, before it waits for a STUN server."""

    def __init__(self, guard: Callable[[aioice.ice.StunProtocol], None]) -> None:
        super().__init__()
        self._guard = guard

    def append(self, protocol: aioice.ice.StunProtocol) -> None:
        """Add a socket."""
        self._guard(protocol)
        super().append(protocol)

    def __iadd__(self, protocols: Iterable[aioice.ice.StunProtocol]) -> Self:  # type: ignore[misc, override]
        for protocol in protocols:
            self.append(protocol)
        return self


def guard_mdns(protocol: aioice.mdns.MDnsProtocol) -> None:
    """Take only answers that may come from this link: from port 5353 and not from a public address (RFC 6762 §6, §11)."""
    if "datagram_received" in vars(protocol):
        return
    take = protocol.datagram_received

    def take_datagram(data: bytes | str, addr: Address) -> None:
        if addr[1] != aioice.mdns.MDNS_PORT or reach_of(str(addr[0])) is Reach.WORLD:
            return
        try:
            take(data, addr)
        except Exception as error:  # noqa: BLE001 (a wall: a DNS message of a stranger)
            log.debug("mDNS message ignored", extra={"peer": addr[0], "reason": str(error)[:200]})

    protocol.datagram_received = take_datagram  # type: ignore[method-assign]


def candidate_refusal(candidate: aioice.Candidate, host: str, peer: str) -> str:
    """Why no check may be sent to a candidate at `host`, named by a browser that signals from `peer`. Empty if it may."""
    if candidate.component != 1:
        return "RTCP has no component of its own"
    if not 0 < candidate.port < 1 << 16:
        return "not a port"
    if reach_of(host) is Reach.NOWHERE:
        return f"{host} is not the address of one host"
    return address_refusal(host, peer)
