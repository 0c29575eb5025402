"""What all parts of one endpoint share: configuration, the transaction layer, the tables of calls and dialogs, events, responses.

It decides nothing: it is handed to transactions' users (calls, requests, screening) through their constructors.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.base.world import Randomness
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.dialog.dialog import Dialog, DialogKey
from active_call.sip.events import (
    CallHandle,
    EndpointConfig,
    Flow,
    HeaderList,
    MessageDropped,
    PublicAddressSeen,
    RegistrationHandle,
    RequestRefused,
    SipEvent,
    TransactionToken,
)
from active_call.sip.faults import PartOfCall
from active_call.sip.listeners import SECURED
from active_call.sip.routing import is_sips
from active_call.sip.syntax.grammar import split_list
from active_call.sip.syntax.headers import Headers, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.layer import TransactionLayer
from active_call.sip.transaction.server import ServerTransaction

if TYPE_CHECKING:
    from active_call.sip.dialog.call import Call
    from active_call.sip.registration import Registration

SDP_TYPE = "application/sdp"


class DialogUser(Protocol):
    """Who serves the requests inside a dialog."""

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """A new request that is neither ACK nor CANCEL; its CSeq has been judged."""

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """An ACK that belongs to no transaction."""


@dataclass(slots=True)
class DialogEntry:
    """A dialog and who serves it now."""

    dialog: Dialog
    user: DialogUser


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that waits for `Endpoint.respond`."""

    call: Call
    transaction: ServerTransaction


@dataclass(frozen=True, slots=True)
class Reply:
    """A response to be: everything but what is copied from the request."""

    code: int
    reason: str
    headers: HeaderList = ()
    body: bytes = b""
    content_type: str = ""
    contact_user: str | None = None
    makes_dialog: bool = False
    rule: str = ""
    """The stable word for why a request is refused; empty where it is not."""


@dataclass(slots=True)
class EndpointContext:
    """See the module."""

    config: EndpointConfig
    randomness: Randomness
    layer: TransactionLayer
    door: RequestAdmission = field(default_factory=RequestAdmission)
    events: list[SipEvent] = field(default_factory=list)
    calls: dict[CallHandle, Call] = field(default_factory=dict)
    dialogs: dict[DialogKey, DialogEntry] = field(default_factory=dict)
    pending_requests: dict[TransactionToken, PendingRequest] = field(default_factory=dict)
    registrations: dict[RegistrationHandle, Registration] = field(default_factory=dict)
    n_calls_by_trunk: Counter[str] = field(default_factory=Counter)
    is_accepting: bool = True
    retry_after_s: int = 30

    def __post_init__(self) -> None:
        self.layer.on_fault = self.handle_fault

    @property
    def allow(self) -> str:
        return ", ".join(self.config.allow)

    @property
    def supported(self) -> str:
        return ", ".join(self.config.supported)

    def emit(self, event: SipEvent) -> None:
        self.events.append(event)

    def drop(self, flow: Flow, why: str, detail: str = "") -> None:
        """Say that something which arrived is not acted on."""
        self.events.append(MessageDropped(flow, why, detail[:200]))

    def learn_public_address(self, response: Response, flow: Flow) -> None:
        """Take note of how the peer sees us (RFC 3581 §4), where that is wanted."""
        if self.config.learns_public_address:
            seen = self.layer.reflections.note(flow.transport, flow.remote.host, response.top_via)
            if seen is not None:
                self.events.append(PublicAddressSeen(flow.transport, seen, flow.remote))

    def note_refusal(self, request: Request, flow: Flow, rule: str, code: int, *, trunk: str = "", detail: str = "") -> None:
        """Say that a request is refused by `rule`; `code` 0: without a word."""
        headers, is_call = request.headers, request.method == "INVITE"
        refused = RequestRefused(
            flow,
            request.method,
            rule,
            code,
            trunk,
            detail[:200],
            user_agent=(headers.get("User-Agent") or "")[:80],
            call_id=headers.get("Call-ID") or "",
            from_header=(headers.get("From") or "")[:500] if is_call else "",
            to_header=(headers.get("To") or "")[:500] if is_call else "",
        )
        self.events.append(refused)

    def registrars(self, now: float) -> list[str]:
        """Addresses of the registrars that we are registered at."""
        return [host for entry in self.registrations.values() if (host := entry.registrar_host(now)) is not None]

    def add_call(self, call: Call) -> None:
        """A call is alive from now on."""
        self.calls[call.handle] = call
        self.n_calls_by_trunk[call.trunk] += 1

    def remove_call(self, call: Call) -> None:
        """A call is over."""
        del self.calls[call.handle]
        self.n_calls_by_trunk[call.trunk] -= 1
        if not self.n_calls_by_trunk[call.trunk]:
            del self.n_calls_by_trunk[call.trunk]

    def handle_fault(self, where: str, error: Exception, owner: PartOfCall | None, now: float) -> None:
        """An error of ours has come up while something was done for `owner`: tell it, and end the call that it is part of, if any."""
        identity = owner.identity if owner is not None else ("", "")
        call = next((call for call in self.calls.values() if call.identity == identity), None) if all(identity) else None
        if call is None:
            self.layer.faults.note(where, error, call_id=identity[0])
        else:
            self.abort_call(where, error, call, now)

    def abort_call(self, where: str, error: Exception, call: Call | None, now: float) -> None:
        """An error of ours has come up while something of `call` was handled: tell it, and end that call."""
        if call is None:
            self.layer.faults.note(where, error)
            return
        self.layer.faults.note(where, error, call=call.handle, call_id=call.identity[0])
        call.abort(now)

    def new_token(self) -> TransactionToken:
        return TransactionToken(self.randomness.token(8))

    def new_tag(self) -> str:
        return self.randomness.token(8)

    def add_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Have `user` serve `dialog` from now on, whoever did before."""
        self.dialogs[dialog.key] = DialogEntry(dialog, user)

    def remove_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Forget `dialog` unless somebody else serves it by now."""
        entry = self.dialogs.get(dialog.key)
        if entry is not None and entry.user is user:
            del self.dialogs[dialog.key]

    def reply(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response; False when the transaction has had a final one. Raises LocalProtocolError for malformed headers of ours."""
        if not transaction.to_tag and reply.code > 100:
            transaction.to_tag = self.new_tag()
        return transaction.send(
            reply.code, self.response_bytes(transaction.request, transaction.via_lines, transaction.to_tag, reply, transaction.flow), now
        )

    def response_bytes(self, request: Request, via_lines: tuple[str, ...], to_tag: str, reply: Reply, flow: Flow) -> bytes:
        """A response to `request` (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq copied as they came."""
        source = request.headers
        fields = [("Via", value) for value in via_lines]
        if reply.makes_dialog:
            fields += [("Record-Route", value) for value in source.get_all("Record-Route")]
        fields.append(("From", source.get("From") or ""))
        fields.append(("To", _with_tag(source.get("To") or "", to_tag if reply.code > 100 else "")))
        fields.append(("Call-ID", source.get("Call-ID") or ""))
        fields.append(("CSeq", source.get("CSeq") or ""))
        if reply.contact_user is not None:
            listeners, by_sips = self.layer.listeners, flow.transport in SECURED and _came_by_sips(request)
            contact = listeners.contact(flow.transport, reply.contact_user, flow.local, towards=flow.remote.host, by_sips=by_sips)
            fields.append(("Contact", contact))
        headers = Headers.from_wire(fields)
        for name, value in reply.headers:
            headers.add(name, value)
        if self.config.user_agent and "Server" not in headers:
            headers.add("Server", self.config.user_agent)
        if reply.body and reply.content_type:
            headers.add("Content-Type", reply.content_type)
        return Response(reply.code, reply.reason, headers, reply.body).to_bytes()


def _came_by_sips(request: Request) -> bool:
    """Whether our Contact has to be a SIPS URI (RFC 3261 §12.1.1): by Request-URI, top Record-Route, or Contact where there is none."""
    routes = request.headers.get_all("Record-Route")[:1] or request.headers.get_all("Contact")[:1]
    return is_sips(request.uri) or any(is_sips(next(iter(split_list(value)), "")) for value in routes)


def _with_tag(to: str, tag: str) -> str:
    if not tag or _has_tag(to):
        return to
    return f"{to};tag={tag}"


def _has_tag(to: str) -> bool:
    try:
        return parse_name_addr(to).tag is not None
    except ParseError:
        pass  # echoed in the refusal of a request that cannot be read
    parameters = to.rpartition(">")[2] if ">" in to else to.partition(";")[2]
    return any(part.partition("=")[0].strip().lower() == "tag" for part in parameters.split(";"))


def checked_reason(reason: str) -> str:
    """`reason` as it may stand in a status line. Raises LocalProtocolError when it would break out of it."""
    if "\r" in reason or "\n" in reason:
        raise LocalProtocolError("a reason phrase is one line")
    return reason


def add_body(request: Request, headers: HeaderList, body: bytes = b"", content_type: str = "") -> None:
    """Append the caller's headers, and a body with its type."""
    for name, value in headers:
        request.headers.add(name, value)
    request.body = body
    if body and content_type and "Content-Type" not in request.headers:
        request.headers.add("Content-Type", content_type)
