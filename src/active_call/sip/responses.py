"""Our responses: the parts decide a `Reply`, and this module writes its bytes (RFC 3261 §8.2.6)."""

from __future__ import annotations

from msgspec import Struct

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.events import EndpointConfig, Flow, HeaderList
from active_call.sip.listeners import Listeners
from active_call.sip.routing import is_sips
from active_call.sip.syntax.grammar import split_list
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response


class Reply(Struct, frozen=True):
    """A response before it is written, without what is copied from the request."""

    code: int
    reason: str
    headers: HeaderList = ()
    body: bytes = b""
    content_type: str = ""
    contact_user: str | None = None
    """The user part of our Contact. None: the response has no Contact."""
    makes_dialog: bool = False
    """Copy Record-Route from the request (§12.1.1)."""
    rule: str = ""
    """Why a request is refused, as a stable id; empty if it is not."""


def response_bytes(
    config: EndpointConfig, listeners: Listeners, request: Request, via_lines: tuple[str, ...], to_tag: str, reply: Reply, flow: Flow
) -> bytes:
    """The bytes of a response to `request`, which arrived on `flow`. Via, From, To, Call-ID and CSeq are copied verbatim.

    `to_tag` is added to To if the request's To has no tag. Raises LocalProtocolError for headers that would corrupt the message.
    """
    source = request.headers
    fields = [("Via", value) for value in via_lines]
    if reply.makes_dialog:
        fields += [("Record-Route", value) for value in source.get_all("Record-Route")]
    fields.append(("From", source.get("From") or ""))
    fields.append(("To", _with_tag(request, to_tag if reply.code > 100 else "")))
    fields.append(("Call-ID", source.get("Call-ID") or ""))
    fields.append(("CSeq", source.get("CSeq") or ""))
    if reply.contact_user is not None:
        by_sips = _came_by_sips(request)
        transport, local = (flow.transport, flow.local) if not by_sips else listeners.secured(flow.transport, flow.local)
        contact = listeners.contact(transport, reply.contact_user, local, towards=flow.remote.host, by_sips=by_sips)
        fields.append(("Contact", contact))
    headers = Headers.from_wire(fields)
    for name, value in reply.headers:
        headers.add(name, value)
    if config.user_agent and "Server" not in headers:
        headers.add("Server", config.user_agent)
    if reply.body and reply.content_type:
        headers.add("Content-Type", reply.content_type)
    return Response(reply.code, reply.reason, headers, reply.body).to_bytes()


def checked_reason(reason: str) -> str:
    """`reason` if it is valid in a status line. Raises LocalProtocolError if it contains a line break or the like."""
    if "\r" in reason or "\n" in reason:
        raise LocalProtocolError("a reason phrase is one line")
    return reason


def _came_by_sips(request: Request) -> bool:
    """Whether our Contact must be a SIPS URI (RFC 3261 §12.1.1): by Request-URI, top Record-Route, or Contact without Record-Route."""
    routes = request.headers.get_all("Record-Route")[:1] or request.headers.get_all("Contact")[:1]
    return is_sips(request.uri) or any(is_sips(next(iter(split_list(value)), "")) for value in routes)


def _with_tag(request: Request, tag: str) -> str:
    to = request.headers.get("To") or ""
    if not tag or _has_tag(request, to):
        return to
    return f"{to};tag={tag}"


def _has_tag(request: Request, to: str) -> bool:
    try:
        return request.to.tag is not None
    except ParseError:
        pass  # echoed in the refusal of a request that does not parse
    parameters = to.rpartition(">")[2] if ">" in to else to.partition(";")[2]
    return any(part.partition("=")[0].strip().lower() == "tag" for part in parameters.split(";"))
