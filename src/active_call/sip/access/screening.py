"""Requests that the endpoint refuses or answers itself, without a call (RFC 3261 §8.2, §11).

A valid request goes in. The Reply comes out, or None if a call has to decide. The caller has already found out whether the request belongs
to a dialog. Max-Forwards is not checked: only a proxy refuses a request whose hops are used up (RFC 4475, "zeromf").
"""

from __future__ import annotations

from active_call.sip.dialog.session_expires import too_small
from active_call.sip.ports import ScreeningPort
from active_call.sip.responses import Reply
from active_call.sip.syntax.body import SDP_TYPE, is_optional, unreadable_part
from active_call.sip.syntax.message import Request, session_description

_DIALOG_METHODS = frozenset(("BYE", "INFO", "UPDATE", "NOTIFY", "PRACK"))
"""Methods that have no meaning outside a dialog."""
ACCEPTED_WITH_PARTS = f"{SDP_TYPE}, multipart/mixed"


def options_reply(port: ScreeningPort) -> Reply:
    """The response to an OPTIONS (§11.2): the same code as an INVITE would get."""
    if not port.is_accepting:
        return not_accepting(port)
    headers = (
        ("Allow", port.config.allow_header),
        ("Accept", SDP_TYPE),
        ("Accept-Encoding", "identity"),
        ("Supported", port.config.supported_header),
    )
    return Reply(200, "OK", headers, contact_user="")


def screen(port: ScreeningPort, request: Request, *, is_in_dialog: bool) -> Reply | None:
    """The refusal or answer that the endpoint gives to `request`, checked in the order of §8.2. None if a call has to decide."""
    if request.method not in port.config.allow or (request.method == "OPTIONS" and not port.config.answer_options):
        return Reply(405, "Method Not Allowed", (("Allow", port.config.allow_header),), rule="method")
    unsupported = _unsupported_extensions(port, request)
    if unsupported:
        return Reply(420, "Bad Extension", (("Unsupported", ", ".join(unsupported)),), rule="extension")
    if request.method in ("INVITE", "UPDATE"):
        reply = _content_reply(request) or too_small(port.config, request)
        if reply is not None:
            return reply
    if is_in_dialog:
        return _contact_reply(request)
    return _outside_reply(port, request)


def _outside_reply(port: ScreeningPort, request: Request) -> Reply | None:
    if request.method == "OPTIONS":
        return options_reply(port)
    if request.method in _DIALOG_METHODS:
        return Reply(481, "Call/Transaction Does Not Exist", rule="no_call")
    if request.method != "INVITE":
        return Reply(403, "Only Inside A Call", rule="outside_call")
    if not port.is_accepting:
        return not_accepting(port)
    return _contact_reply(request)


def _contact_reply(request: Request) -> Reply | None:
    """An INVITE needs a Contact, because later requests of the dialog go there (§8.1.1.8)."""
    if request.method == "INVITE" and (request.headers.get("Contact") or "*").strip() == "*":
        return Reply(400, "Missing Contact", rule="contact")
    return None


def _content_reply(request: Request) -> Reply | None:
    if not request.body.strip():
        return None
    encoding = (request.headers.get("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        return Reply(415, "Unsupported Media Type", (("Accept-Encoding", "identity"),), rule="content")
    if session_description(request) is None and not is_optional(request.headers.get("Content-Disposition")):
        return Reply(415, "Unsupported Media Type", (("Accept", SDP_TYPE),), rule="content")
    if unreadable_part(request.headers, request.body) is not None:
        return Reply(415, "Unsupported Media Type", (("Accept", ACCEPTED_WITH_PARTS),), rule="content")
    return None


def _unsupported_extensions(port: ScreeningPort, request: Request) -> list[str]:
    required = request.headers.split("Require")
    return [tag for tag in required if tag and tag.lower() not in port.config.supported]


def not_accepting(port: ScreeningPort) -> Reply:
    """The refusal of new calls while the endpoint is full or stops (§21.5.4)."""
    return Reply(503, "Service Unavailable", (("Retry-After", str(port.retry_after_s)),), rule="not_accepting")
