"""Where messages go and what we call ourselves in them: next hops, Via and Contact.

Enter: URIs of route sets and targets, the listeners. Leave: `Target`s, Via and Contact values. Knows no transactions, resolves no
names. RFC 3261 §8.1.2, §12.2.1.1, §18.1.1, §18.2.2; RFC 3581; RFC 7118 (the WebSocket transports).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import get_args

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.events import Address, Flow, Listener, Target, TransportName
from active_call.sip.headers import Via, parse_name_addr
from active_call.sip.uri import Uri, parse_uri

_TRANSPORTS: dict[str, TransportName] = {name: name for name in get_args(TransportName)}
DEFAULT_PORTS: dict[TransportName, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.1."""
_WILDCARDS = frozenset(("0.0.0.0", "::", ""))


def bracketed(host: str) -> str:
    """`host` as a URI or Via writes it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_reliable(transport: TransportName) -> bool:
    """Whether the transport repeats lost bytes by itself."""
    return transport != "udp"


def uri_of(route_or_uri: str) -> Uri:
    """The URI of a Route value (`<sip:…;lr>;x=y`) or of a bare URI. Raises ParseError."""
    text = route_or_uri.strip()
    if "<" in text:
        return parse_name_addr(text).uri
    return parse_uri(text)


def transport_of(uri: Uri, default: TransportName) -> TransportName:
    """The transport that `uri` asks for or implies, `default` where it leaves the choice to us."""
    named = _TRANSPORTS.get((uri.parameters.get("transport") or "").lower())
    if uri.scheme.lower() == "sips":
        return "wss" if named in ("ws", "wss") else "tls"
    return named or default


def target_of(uri: Uri, transport: TransportName, flow: Flow | None = None) -> Target:
    """The next hop that `uri` names. `flow` goes along when it is a connection of the same transport."""
    host = (uri.parameters.get("maddr") or uri.host).strip("[]")
    usable = flow if flow is not None and flow.transport == transport and flow.connection_id is not None else None
    return Target(transport, host, uri.port, usable, any_transport=_leaves_transport_open(uri) and not is_address(host))


def _leaves_transport_open(uri: Uri) -> bool:
    """Whether NAPTR may choose: no transport, no port, and not `sips` (RFC 3263 §4.1)."""
    return uri.port is None and uri.scheme.lower() == "sip" and not uri.parameters.get("transport")


def response_target(via: Via, flow: Flow) -> Target:
    """Where a response goes when the connection its request came by is gone (RFC 3261 §18.2.2)."""
    return Target(flow.transport, flow.remote.host, via.port or DEFAULT_PORTS[flow.transport])


def response_flow(via: Via, flow: Flow) -> Flow:
    """Where a response goes first: back where the request came from.

    Over UDP that is the source port if the client asked for it by `rport` (RFC 3581 §4), else the port its Via names.
    """
    if flow.connection_id is not None or flow.transport != "udp" or "rport" in via.parameters:
        return flow
    port = via.port or DEFAULT_PORTS["udp"]
    if port == flow.remote.port:
        return flow
    return Flow(flow.transport, flow.local, Address(flow.remote.host, port))


def after_response(destination: Flow | Target, flow: Flow) -> Flow | Target:
    """Where the rest of a transaction goes once a response came by `flow`.

    Over a stream: by that connection. Over UDP an address stays what it was, while a name, which may resolve to several, becomes the
    address that answered: ACK and CANCEL must reach the server that has the transaction (RFC 3261 §9.1, §17.1.1.3).
    """
    if isinstance(destination, Flow) or destination.transport != flow.transport:
        return destination
    if flow.connection_id is not None:
        return destination if destination.flow == flow else replace(destination, flow=flow)
    return destination if is_address(destination.host) else flow


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, in brackets or not, rather than a name."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Listeners:
    """Our listening sockets, by transport."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self._all = listeners
        self._transports = frozenset(listener.transport for listener in listeners)

    def has(self, transport: TransportName) -> bool:
        """Whether we listen on `transport` at all."""
        return transport in self._transports

    def choices(self, preferred: TransportName) -> tuple[TransportName, ...]:
        """The transports among which DNS may choose, `preferred` first."""
        others = [name for name in ("udp", "tcp", "tls") if name in self._transports and name != preferred]
        return (preferred, *(_TRANSPORTS[name] for name in others))

    def default_transport(self) -> TransportName:
        """What to use when a URI names none: UDP where we have it, else our first listener's."""
        if "udp" in self._transports or not self._all:
            return "udp"
        return self._all[0].transport

    def for_transport(self, transport: TransportName, local: Address | None = None, towards: str = "") -> Listener:
        """The listener that speaks for `transport`: the one bound to `local` if there is one, else the first that can reach `towards`.

        A transport without a listener is spoken for by its nearest relative. Raises LocalProtocolError without any listener.
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
        """A Via value for a request of ours to the address `towards`; `rport` is always asked for."""
        public = _public(self.for_transport(transport, local, towards), local, local_host, towards)
        return f"SIP/2.0/{transport.upper()} {bracketed(public.host)}:{public.port};branch={branch};rport"

    def contact(
        self, transport: TransportName, user: str, local: Address | None = None, local_host: str | None = None, towards: str = ""
    ) -> str:
        """A Contact value under which the peer at `towards` can reach us over `transport`."""
        public = _public(self.for_transport(transport, local, towards), local, local_host, towards)
        at = f"{user}@" if user else ""
        suffix = "" if transport == "udp" else f";transport={'ws' if transport == 'wss' else transport}"
        return f"<sip:{at}{bracketed(public.host)}:{public.port}{suffix}>"


def _is_bound_to(listener: Listener, local: Address) -> bool:
    bound = listener.bound
    return bound.port == local.port and (bound.host == local.host or (bound.host in _WILDCARDS and _can_reach(listener, local.host)))


def _can_reach(listener: Listener, towards: str) -> bool:
    """Whether the listener's socket has the family of that address; `::` has both."""
    return not is_address(towards) or listener.bound.host == "::" or is_same_family(listener.bound.host, towards)


def is_same_family(one: str, other: str) -> bool:
    """Whether both are IPv6 addresses or neither is."""
    return (":" in one) == (":" in other)


def _public(listener: Listener, local: Address | None, local_host: str | None, towards: str) -> Address:
    """The listener's public address; where that is a wildcard, the address that this call is known to use.

    Always of the peer's family: an IPv4 address in front of a NAT is of no use to a peer that has come by IPv6.
    """
    candidates = [listener.public.host, local_host or "", local.host if local is not None else ""]
    named = [host for host in candidates if host not in _WILDCARDS]
    fitting = [host for host in named if not is_address(towards) or not is_address(host) or is_same_family(host, towards)]
    return Address((fitting or named or [listener.public.host])[0], listener.public.port)


def is_loose(route: str) -> bool:
    """Whether a Route value is a loose router's (`;lr`, with or without a value). A value that does not parse counts as loose."""
    try:
        return "lr" in uri_of(route).parameters
    except ParseError:
        return True
