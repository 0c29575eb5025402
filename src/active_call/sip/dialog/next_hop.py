"""Where the requests of a dialog go: its own connection while that lives, then the places that its route or target names.

Enters: the first Route or the remote target, the flow that the dialog's messages come by. Leaves: a `Target` with its alternatives. Knows
no transactions. RFC 3261 §12.2.1.1, RFC 5630 §5, RFC 5923, RFC 5626.

    flow is a connection     by that connection, whatever the URI says; once it is gone, by a new one of the same transport
        over TLS, WSS        never by a transport that is not encrypted
        over TCP, WS         TLS where the URI asks for it; UDP where it asks for that, or leaves it open, and TCP fails
    flow is UDP              as the URI says

A URI that names an address of a smaller reach than the source has (a private one, seen from the Internet), or a private one seen from this
machine, names no place that we could reach: the request goes to the source. So does one whose name leads to such an address only.
"""

from __future__ import annotations

from dataclasses import replace

from active_call.base.addresses import Reach, reach_of
from active_call.base.errors import ParseError
from active_call.sip.events import Flow, HopRules, Target, TransportName
from active_call.sip.listeners import SECURED
from active_call.sip.routing import is_reliable, target_of, transport_of, uri_of
from active_call.sip.syntax.uri import Uri


def next_hop(text: str, flow: Flow, default: TransportName, *, is_ours: bool, large_by_tcp: bool) -> Target:
    """The next hop that the route or remote target `text` names. `is_ours`: we have made the dialog, so `flow` leads to a listener."""
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
    """Whether an address is worth trying for us, who see the peer at `seen`: on this machine, a private address says nothing."""
    return reach is Reach.WORLD or (reach >= seen and (seen is not Reach.LOOPBACK or reach is Reach.LOOPBACK))


def _others(target: Target, uri: Uri, asked: TransportName, source: Target | None) -> list[Target]:
    """Where else to try once the connection is gone and `target` does not accept another one. `source`: the listener that we had called."""
    others = []
    plain = replace(target, flow=None)
    if target.transport in SECURED and uri.port is not None and not uri.transport:
        others.append(replace(plain, port=None))  # the port may be that of another transport
    if source is not None:
        others.append(replace(source, flow=None))
    if target.transport == "tcp" and (asked == "udp" or not uri.transport):
        others.append(replace(plain, transport="udp"))
    return others


def _is_web_socket(one: TransportName, other: TransportName) -> bool:
    """A URI says `ws` for both (RFC 7118 §5.3)."""
    return {one, other} == {"ws", "wss"}


def _read(text: str) -> Uri | None:
    try:
        return uri_of(text)
    except ParseError:
        return None
