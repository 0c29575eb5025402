"""Write our request for its target: Via, Contact, and UDP or TCP by size (RFC 3261 §18.1.1).

A request without Via and Contact, a target and a branch go in. Bytes come out. This module sends nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from active_call.sip.events import Target
from active_call.sip.listeners import SECURED, Listeners
from active_call.sip.routing import is_sips
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.hop_finder import HopFinder
from active_call.sip.transaction.origin import Origin

MAX_UDP_REQUEST_BYTES = 1300
"""RFC 3261 §18.1.1: larger requests use a congestion-controlled transport if the path MTU is unknown."""


class RequestWriter:
    """See the module. `listeners` may be replaced while the endpoint runs."""

    def __init__(self, listeners: Listeners, hops: HopFinder) -> None:
        self.listeners = listeners
        self._hops = hops

    def place(self, request: Request, target: Target, branch: str, origin: Origin, now: float) -> tuple[bytes, Target, Target | None]:
        """Write `request` for the transport that fits its size. Returns the bytes, the next hop, and the UDP target to fall back to."""
        data = self.write(request, target, branch, origin)
        is_large = len(data) > MAX_UDP_REQUEST_BYTES and target.transport == "udp"
        if not is_large or not target.rules.large_by_tcp or not self.listeners.has("tcp") or not self._hops.takes_tcp(target, now):
            return data, target, None
        over_tcp = replace(target, transport="tcp", flow=None)
        return self.write(request, over_tcp, branch, origin), over_tcp, target

    def write(self, request: Request, target: Target, branch: str, origin: Origin) -> bytes:
        """Write `request` with Via and Contact for `target`. They replace those of an earlier target in `request` itself."""
        headers, transport = request.headers, target.transport
        local_host = target.local or origin.local_host
        via = self.listeners.via(transport, branch, origin.local, local_host, target.host)
        if "Via" in headers:
            headers.set("Via", via)
        else:
            headers.prepend("Via", via)
        if origin.contact_user is not None:
            user, by_sips = origin.contact_user, transport in SECURED and goes_by_sips(request)
            headers.set("Contact", self.listeners.contact(transport, user, origin.local, local_host, target.host, by_sips=by_sips))
        return request.to_bytes()


def goes_by_sips(request: Request) -> bool:
    """Whether the Contact of our request must be a SIPS URI (RFC 3261 §8.1.1.8): by Request-URI or top Route."""
    return is_sips(request.uri) or is_sips(request.headers.get("Route") or "")
