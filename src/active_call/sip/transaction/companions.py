"""The requests that use the branch of an INVITE: its CANCEL and the ACK to a non-2xx (RFC 3261 §9.1, §17.1.1.3)."""

from __future__ import annotations

from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response


def ack_for_failure(invite: Request, response: Response) -> Request:
    """The ACK to a non-2xx: Request-URI, branch and Route of the INVITE, To of the response (§17.1.1.3)."""
    return _companion(invite, "ACK", response.headers.get("To") or invite.headers.get("To") or "")


def cancel_for(invite: Request, headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """The CANCEL of an INVITE: headers of the INVITE, one Via, no body (§9.1), plus `headers`."""
    request = _companion(invite, "CANCEL", invite.headers.get("To") or "")
    for name, value in headers:
        request.headers.add(name, value)
    return request


def _companion(invite: Request, method: str, to: str) -> Request:
    source = invite.headers
    headers = Headers()
    headers.add("Via", source.get("Via") or "")
    headers.add("Max-Forwards", "70")
    for route in source.get_all("Route"):
        headers.add("Route", route)
    headers.add("From", source.get("From") or "")
    headers.add("To", to)
    headers.add("Call-ID", source.get("Call-ID") or "")
    headers.add("CSeq", f"{(source.get('CSeq') or '1').split()[0]} {method}")
    return Request(method, invite.uri, headers, b"")
