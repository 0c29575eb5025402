"""Our addresses in messages: which listener is used, its Via and its Contact, and at which address each peer sees us.

The listening sockets, the peer's address and the `received`/`rport` of its responses go in. Via and Contact values come out. RFC 3261
§8.1.1.7, §8.1.1.8, §18.1.1; RFC 3581 §4; RFC 5118.

The address that a peer sees applies to that peer. The address that a trusted peer outside private networks sees also applies to all other
peers outside. A peer on our own network that sees our own address keeps getting that address.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network

from active_call.base.addresses import Reach, reach_of
from active_call.base.errors import LocalProtocolError
from active_call.sip.events import Address, Listener, Target, TransportName
from active_call.sip.routing import DEFAULT_PORTS, TRANSPORTS, bracketed, is_address, is_reliable
from active_call.sip.syntax.headers import Via
from active_call.sip.syntax.uri import parse_host_port

WILDCARDS = frozenset(("0.0.0.0", "::", ""))
SECURED = frozenset(("tls", "wss"))
MAX_PEERS = 1024

_INSIDE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
    )
)
"""RFC 1918, RFC 6598, RFC 4193, loopback and link-local: networks whose addresses are not routable from elsewhere."""


@lru_cache(maxsize=4096)
def is_outside(address: str) -> bool:
    """Whether `address` is an IP address outside private networks."""
    if not is_address(address):
        return False
    ip = ip_address(address.strip("[]"))
    return not any(ip.version == network.version and ip in network for network in _INSIDE)


class Reflections:
    """The addresses at which peers see us: `received` and `rport` in the Via of their responses."""

    def __init__(self) -> None:
        self._by_peer: dict[tuple[TransportName, str], Address] = {}
        self._outside: dict[TransportName, Address] = {}

    def note(self, transport: TransportName, peer: str, via: Via, *, is_for_others: bool = True) -> Address | None:
        """Read the top Via of a response. Returns the address if peers outside see us at a new one.

        `is_for_others`: what this peer sees may be told to others. They would send their media and requests there.

        The port is used for UDP only. Over a stream it is the port of one connection, and no socket listens there.
        """
        host = via.received
        if host is None or not is_address(host):
            return None
        seen = Address(host, 0 if is_reliable(transport) else via.rport or 0)
        self._by_peer.pop((transport, peer), None)
        while len(self._by_peer) >= MAX_PEERS:
            del self._by_peer[next(iter(self._by_peer))]
        self._by_peer[transport, peer] = seen
        if not is_for_others or not is_outside(host) or not is_outside(peer) or self._outside.get(transport) == seen:
            return None
        self._outside[transport] = seen
        return seen

    def towards(self, transport: TransportName, peer: str) -> Address | None:
        """The address that `peer` sees over `transport`, or probably sees. Port 0 stands for the listener's own port."""
        known = self._by_peer.get((transport, peer))
        if known is not None or not is_outside(peer):
            return known
        if transport in self._outside:
            return self._outside[transport]
        other = next(iter(self._outside.values()), None)
        return None if other is None else Address(other.host, 0)


class Listeners:
    """Our listening sockets, by transport."""

    def __init__(self, listeners: tuple[Listener, ...], reflections: Reflections | None = None) -> None:
        self._all = listeners
        self._reflections = reflections or Reflections()
        self._transports = frozenset(listener.transport for listener in listeners)

    def has(self, transport: TransportName) -> bool:
        """Whether we listen on `transport`."""
        return transport in self._transports

    def choices(self, preferred: TransportName) -> tuple[TransportName, ...]:
        """The transports among which DNS may choose, `preferred` first."""
        others = [name for name in ("udp", "tcp", "tls") if name in self._transports and name != preferred]
        return (preferred, *(TRANSPORTS[name] for name in others))

    def default_transport(self) -> TransportName:
        """The transport for a URI that names none: UDP if we listen on it, else that of our first listener."""
        if "udp" in self._transports or not self._all:
            return "udp"
        return self._all[0].transport

    def for_transport(self, transport: TransportName, local: Address | None = None, towards: str = "") -> Listener:
        """The listener for messages over `transport`: the one bound to `local` if there is one, else the first that can reach `towards`.

        A transport without a listener uses the listener of the most similar transport. Raises LocalProtocolError if there is no listener at
        all.
        """
        own = [listener for listener in self._all if listener.transport == transport]
        if local is not None:
            for listener in own:
                if _is_bound_to(listener, local):
                    return listener
        if not own:
            own = [listener for listener in self._all if listener.transport == ("tcp" if transport in ("tls", "wss") else "udp")]
        for listener in own:
            if _can_reach(listener, towards):
                return listener
        if not self._all:
            raise LocalProtocolError("there is no listener, so no address to put into Via and Contact")
        return own[0] if own else self._all[0]

    def via(
        self, transport: TransportName, branch: str, local: Address | None = None, local_host: str | None = None, towards: str = ""
    ) -> str:
        """A Via value for our request to the address `towards`. It always contains `rport`."""
        public = self._public(transport, local, local_host, towards)
        return f"SIP/2.0/{transport.upper()} {bracketed(public.host)}:{public.port};branch={branch};rport"

    def contact(
        self,
        transport: TransportName,
        user: str,
        local: Address | None = None,
        local_host: str | None = None,
        towards: str = "",
        *,
        by_sips: bool = False,
    ) -> str:
        """A Contact value at which the peer at `towards` can reach us over `transport`.

        `user` may continue with `@host[:port]` to name another host. `by_sips`: as a SIPS URI if the transport is encrypted.
        """
        public = self._public(transport, local, local_host, towards)
        user, _, named = user.partition("@")
        if named:
            host, port = parse_host_port(named)
            public = Address(host, public.port if port is None else port)
        at = f"{user}@" if user else ""
        scheme, suffix = "sip", "" if transport == "udp" else f";transport={'ws' if transport == 'wss' else transport}"
        if by_sips and transport in SECURED:
            scheme, suffix = "sips", ";transport=ws" if transport == "wss" else ""
        return f"<{scheme}:{at}{bracketed(public.host)}:{public.port}{suffix}>"

    def secured(self, transport: TransportName, local: Address | None) -> tuple[TransportName, Address | None]:
        """Where a SIPS URI that arrived over `transport` reaches us: the same socket, or the TLS listener if a proxy terminates TLS.

        Without a TLS listener there is no such address: `contact` then returns a SIP URI, so that we can be reached at all.
        """
        return ("tls", None) if transport not in SECURED and self.has("tls") else (transport, local)

    def is_own(self, hop: Target) -> bool:
        """Whether the address `hop` is one of our sockets. `hop.local` is our address towards it; for our own sockets the two are equal."""
        port = hop.port or DEFAULT_PORTS[hop.transport]
        for listener in self._all:
            places = (listener.bound, listener.public, *((listener.learnt,) if listener.learnt is not None else ()))
            if any(place.port == port and place.host == hop.host for place in places):
                return True
            is_here = hop.host == hop.local or reach_of(hop.host) in (Reach.LOOPBACK, Reach.NOWHERE)
            if listener.bound.port == port and listener.bound.host in WILDCARDS and is_here:
                return True
        return False

    def seen_by(self, peer: str) -> str | None:
        """The address at which that peer sees us instead of our own, if known."""
        for listener in self._all:
            seen = self._seen(listener, peer)
            if seen is not None and is_same_family(seen.host, peer):
                return seen.host
        return None

    def _seen(self, listener: Listener, peer: str) -> Address | None:
        """The address that `peer` sees, or for a peer outside private networks the one that other outside peers see."""
        if _is_configured(listener):
            return None
        seen = self._reflections.towards(listener.transport, peer)
        if seen is None and listener.learnt is not None and is_outside(peer):
            seen = listener.learnt
        return seen

    def _public(self, transport: TransportName, local: Address | None, local_host: str | None, towards: str) -> Address:
        """The address to give to `towards`: the configured one, else the one it sees, else the local one of this call.

        Always of the peer's address family: a public IPv4 address is of no use to an IPv6 peer.
        """
        listener = self.for_transport(transport, local, towards)
        own_port = listener.public.port
        candidates = [listener.public, Address(local_host or "", own_port), Address(local.host if local is not None else "", own_port)]
        seen = self._seen(listener, towards)
        if seen is not None:
            candidates.insert(0, Address(seen.host, seen.port or own_port))
        named = [entry for entry in candidates if entry.host not in WILDCARDS]
        fitting = [entry for entry in named if not is_address(towards) or not is_address(entry.host) or is_same_family(entry.host, towards)]
        return (fitting or named or [listener.public])[0]


def _is_configured(listener: Listener) -> bool:
    """Whether the public address was configured."""
    return listener.public.host not in WILDCARDS and listener.public.host != listener.bound.host


def _is_bound_to(listener: Listener, local: Address) -> bool:
    bound = listener.bound
    return bound.port == local.port and (bound.host == local.host or (bound.host in WILDCARDS and _can_reach(listener, local.host)))


def _can_reach(listener: Listener, towards: str) -> bool:
    """Whether the listener's socket has the address family of `towards`. `::` has both."""
    return not is_address(towards) or listener.bound.host == "::" or is_same_family(listener.bound.host, towards)


def is_same_family(one: str, other: str) -> bool:
    """Whether both are IPv6 addresses or neither is."""
    return (":" in one) == (":" in other)
