"""The keys that requests are matched by, and the Via values of responses (RFC 3261 §8.2.2.2, §17.2.3; RFC 3581 §4)."""

from __future__ import annotations

from collections.abc import Hashable

from active_call.base.errors import ParseError
from active_call.sip.events import Flow
from active_call.sip.syntax.headers import with_via_received
from active_call.sip.syntax.message import Request

COOKIE = "z9hG4bK"
"""Prefix of every RFC 3261 branch (§8.1.1.7)."""


def via_lines(request: Request, flow: Flow) -> tuple[str, ...]:
    """The Via values for responses to `request`: as received, the top one with `received` and `rport` (RFC 3581 §4)."""
    lines = request.headers.get_all("Via")
    if len(lines) != 1 or "," in lines[0]:
        lines = request.headers.split("Via")
    rport = flow.remote.port if "rport" in request.top_via.parameters else None
    return (with_via_received(lines[0], flow.remote.host, rport), *lines[1:])


def server_key(request: Request, method: str | None = None) -> Hashable:
    """The key of a server transaction (§17.2.3). Without the RFC 3261 cookie it is the longer RFC 2543 key of the same section."""
    via = request.top_via
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    branch = via.branch or ""
    if branch.startswith(COOKIE):
        return branch, via.host.lower(), via.port, method
    try:
        from_tag = request.from_.tag or ""
    except ParseError:
        from_tag = ""
    return via.text, request.call_id, from_tag, request.cseq.number, method


def merge_key(request: Request) -> Hashable:
    """The key of the same request on another path (§8.2.2.2)."""
    return request.call_id, request.from_.tag or "", request.cseq.number, request.method
