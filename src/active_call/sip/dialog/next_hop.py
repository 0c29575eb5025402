"""Choose the next hop of in-dialog requests: the dialog's own connection while it is open, then the hosts of its route or target.

The first Route or the remote target goes in, with the flow that carries the dialog's messages. A `Target` with its alternatives comes out.
This module knows no transactions. RFC 3261 §12.2.1.1, RFC 5630 §5, RFC 5923, RFC 5626.

    flow is a connection     that connection, whatever the URI says; once it is closed, a new one of the same transport
        over TLS, WSS        never a transport without encryption
        over TCP, WS         TLS if the URI asks for it; UDP if the URI asks for it, or if it names no transport and TCP fails
    flow is UDP              as the URI says

A URI may name an address that we cannot reach: a private one while the source is public, or a private one while the source is this machine.
Then the request goes to the source. The same applies to a host name that resolves only to such addresses.
"""

from __future__ import annotations

from msgspec.structs import replace

from active_call.base.addresses import Reach, reach_of
from active_call.base.errors import ParseError
from active_call.sip.events import Flow, HopRules, Target, TransportName
from active_call.sip.listeners import SECURED
from active_call.sip.routing import is_reliable, target_of, transport_of, uri_of
from active_call.sip.syntax.uri import Uri


def next_hop(text: str, flow: Flow, default: TransportName, *, is_ours: bool, large_by_tcp: bool) -> Target:
    """The next hop for the route or remote target `text`.

    `is_ours`: we created the dialog, so `flow` leads to one of the peer's listeners.
    """
    least = reach_of(flow.remote.host) or Reach.NOWHERE
    rules = HopRules(least, large_by_tcp=large_by_tcp)
    source = Target(flow.transport, flow.remote.host, flow.remote.port, flow, rules=rules)
    uri = _read(text)
    host = "" if uri is None else (uri.parameters.get("maddr") or uri.host).strip("[]")
    reach = reach_of(host)
    if uri is None or not host or (reach is not None and not _is_reachable(reach, least)):
        return source
    if not is_reliable(flow.transport):
        others = (source,) if reach is None else ()
        return replace(target_of(uri, transport_of(uri, default)), alternatives=others, rules=rules)
    asked = transport_of(uri, flow.transport)
    if asked in SECURED and flow.transport not in SECURED and not _is_web_socket(asked, flow.transport):
        return replace(target_of(uri, asked), alternatives=(), rules=rules)
    target = Target(flow.transport, host, uri.port, flow, rules=rules)
    return replace(target, alternatives=tuple(_others(target, uri, asked, source if is_ours else None)))


def _is_reachable(reach: Reach, seen: Reach) -> bool:
    """Whether an address is worth a try, given that we see the peer at `seen`. For a peer on this machine a private one is not."""
    return reach is Reach.WORLD or (reach >= seen and (seen is not Reach.LOOPBACK or reach is Reach.LOOPBACK))


def _others(target: Target, uri: Uri, asked: TransportName, source: Target | None) -> list[Target]:
    """Further targets to try if the connection is closed and `target` accepts no new one. `source`: the listener that we had called."""
    others = []
    plain = replace(target, flow=None)
    if target.transport in SECURED and uri.port is not None and not uri.transport:
        others.append(replace(plain, port=None))  # the port may belong to another transport
    if source is not None:
        others.append(replace(source, flow=None))
    if target.transport == "tcp" and (asked == "udp" or not uri.transport):
        others.append(replace(plain, transport="udp"))
    return others


def _is_web_socket(one: TransportName, other: TransportName) -> bool:
    """Whether both are WebSocket transports. A URI says `ws` for both (RFC 7118 §5.3)."""
    return {one, other} == {"ws", "wss"}


def _read(text: str) -> Uri | None:
    try:
        return uri_of(text)
    except ParseError:
        return None
