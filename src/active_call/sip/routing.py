"""Next hops of requests and return paths of responses.

URIs of route sets and targets, Vias and flows go in. `Target`s and `Flow`s come out. This module knows no transactions and resolves no
names. `listeners` has our own addresses. RFC 3261 §8.1.2, §12.2.1.1, §18.1.1, §18.2.2; RFC 3581; RFC 7118 (the WebSocket transports).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import get_args

from active_call.base.errors import ParseError
from active_call.sip.events import Address, Flow, Target, TransportName
from active_call.sip.syntax.headers import Via, parse_name_addr
from active_call.sip.syntax.uri import Uri, parse_host_port, parse_uri

TRANSPORTS: dict[str, TransportName] = {name: name for name in get_args(TransportName)}
DEFAULT_PORTS: dict[TransportName, int] = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.1."""


def bracketed(host: str) -> str:
    """`host` as written in a URI or Via: an IPv6 address gets brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def parse_place(text: str) -> tuple[str, int | None]:
    """Host (without brackets) and port of `host`, `host:port`, `v6` or `[v6]:port`. Raises ParseError."""
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    host, port = parse_host_port(text)
    return host.strip("[]"), port


def is_reliable(transport: TransportName) -> bool:
    """Whether the transport retransmits lost data itself."""
    return transport != "udp"


def uri_of(route_or_uri: str) -> Uri:
    """The URI of a Route value (`<sip:…;lr>;x=y`) or of a bare URI. Raises ParseError."""
    text = route_or_uri.strip()
    if "<" in text:
        return parse_name_addr(text).uri
    return parse_uri(text)


def is_sips(route_or_uri: str) -> bool:
    """Whether `route_or_uri` is a SIPS URI. False if it does not parse."""
    try:
        return uri_of(route_or_uri).scheme == "sips"
    except ParseError:
        return False


def transport_of(uri: Uri, default: TransportName) -> TransportName:
    """The transport that `uri` names or implies, `default` if it leaves the choice to us."""
    named = TRANSPORTS.get((uri.parameters.get("transport") or "").lower())
    if uri.scheme.lower() == "sips":
        return "wss" if named in ("ws", "wss") else "tls"
    return named or default


def target_of(uri: Uri, transport: TransportName, flow: Flow | None = None) -> Target:
    """The next hop that `uri` names. `flow` is used if it is a connection of the same transport."""
    host = (uri.parameters.get("maddr") or uri.host).strip("[]")
    if flow is not None and {flow.transport, transport} == {"ws", "wss"}:
        transport = flow.transport  # a URI says `ws` for both (RFC 7118 §5.3)
    usable = flow if flow is not None and flow.transport == transport and flow.connection_id is not None else None
    return Target(transport, host, uri.port, usable, any_transport=_leaves_transport_open(uri) and not is_address(host))


def _leaves_transport_open(uri: Uri) -> bool:
    """Whether NAPTR may choose the transport: no transport, no port, and not `sips` (RFC 3263 §4.1)."""
    return uri.port is None and uri.scheme.lower() == "sip" and not uri.parameters.get("transport")


def response_target(via: Via, flow: Flow) -> Target:
    """Where a response goes if the connection of its request is closed (RFC 3261 §18.2.2)."""
    return Target(flow.transport, flow.remote.host, via.port or DEFAULT_PORTS[flow.transport])


def response_flow(via: Via, flow: Flow) -> Flow:
    """Where a response is sent first: back to the source of the request.

    Over UDP this is the source port if the client asked for it by `rport` (RFC 3581 §4), else the port in its Via.
    """
    if flow.connection_id is not None or flow.transport != "udp" or "rport" in via.parameters:
        return flow
    port = via.port or DEFAULT_PORTS["udp"]
    if port == flow.remote.port:
        return flow
    return Flow(flow.transport, flow.local, Address(flow.remote.host, port))


@lru_cache(maxsize=4096)
def is_address(host: str) -> bool:
    """Whether `host` is an IP address, with or without brackets, and not a name."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loose(route: str) -> bool:
    """Whether a Route value belongs to a loose router (`;lr`, with or without a value). A malformed value counts as loose."""
    try:
        return "lr" in uri_of(route).parameters
    except ParseError:
        return True
