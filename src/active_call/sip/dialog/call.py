"""One call: the INVITE usage, from its first message to its single CallEnded (RFC 3261 §13-15).

    OFFERED ──answer──> ANSWERED ──ACK──> ACTIVE ──┐
    CALLING ──2xx──────────────────────> ACTIVE ──┤
    CALLING ──hang_up, ring timeout──> CANCELLING ─┴──> ENDED

`InboundCall` and `OutboundCall` are the ways in; this is what they share: requests inside the dialog, BYE, the end. Whoever ends a call,
all that waits for it is settled first: the peer's open requests get 487, ours are reported as 487, and CallEnded is the last event.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import partial

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.access.screening import options_reply
from active_call.sip.context import EndpointContext, PendingRequest, Reply
from active_call.sip.dialog.bye import Bye
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.dialog.refer import Refers, is_refer_notify, wants_no_notify
from active_call.sip.dialog.reinvite import OfferExchange
from active_call.sip.dialog.requests import OutgoingRequest, in_dialog
from active_call.sip.dialog.session_timer import SessionTimer
from active_call.sip.events import (
    CallEnded,
    CallHandle,
    Credentials,
    Flow,
    HeaderList,
    RequestCompleted,
    RequestReceived,
    TransactionToken,
)
from active_call.sip.syntax.grammar import is_token
from active_call.sip.syntax.headers import parse_name_addr
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.syntax.reason import Reason, format_reason
from active_call.sip.transaction.server import ServerTransaction

_NOT_BY_REQUEST = frozenset(("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "REFER"))


class CallState(Enum):
    """See the module."""

    OFFERED = auto()
    ANSWERED = auto()
    CALLING = auto()
    CANCELLING = auto()
    ACTIVE = auto()
    ENDED = auto()


class Call:
    """What inbound and outbound calls share."""

    def __init__(
        self,
        core: EndpointContext,
        state: CallState,
        credentials: tuple[Credentials, ...] = (),
        *,
        trunk: str = "",
        session_expires_s: int | None = None,
    ) -> None:
        self._core = core
        self._pending_tokens: set[TransactionToken] = set()
        self._our_requests: dict[TransactionToken, None] = {}
        self.handle = CallHandle(core.randomness.token(8))
        self.state = state
        self._is_aborted = False
        self.trunk = trunk
        self.credentials = credentials
        self.dialog: Dialog | None = None
        self.local_sdp: bytes | None = None
        self.remote_sdp: bytes | None = None
        self.timer = SessionTimer(core, self, session_expires_s)
        self.renegotiation = OfferExchange(core, self)
        self.transfers = Refers(core, self)
        core.add_call(self)

    # -- operations ---------------------------------------------------------------------------------------------------------------------

    def ring(self, now: float, sdp: bytes | None, headers: HeaderList) -> bool:
        """Send 180, or 183 with a description; False unless the call is incoming and not answered."""
        return False

    def answer(self, sdp: bytes, now: float, headers: HeaderList) -> bool:
        """Send the 200; False unless the call is incoming and not answered."""
        return False

    def reject(self, code: int, reason: str, now: float, headers: HeaderList) -> bool:
        """Send a final response of 300 or above; False unless the call is incoming and not answered."""
        return False

    def hang_up(self, now: float, headers: HeaderList) -> None:
        """End the call in the way its state asks for."""
        if self.state is CallState.ACTIVE:
            self.say_bye(now, headers)
            self.end("local_bye", now)

    def offer(self, sdp: bytes | None, now: float, headers: HeaderList) -> bool:
        """Send a re-INVITE; False while the call is not answered, or another offer is open."""
        return self.state is CallState.ACTIVE and self.renegotiation.offer(sdp, headers, now)

    def answer_offer(self, sdp: bytes, now: float) -> bool:
        """Answer the peer's open offer; False when none is open."""
        return self._may_have_offer and self.renegotiation.answer_offer(sdp, now)

    def refuse_offer(self, code: int, reason: str, now: float) -> bool:
        """Refuse the peer's open offer; False when none is open."""
        return self._may_have_offer and self.renegotiation.refuse_offer(code, reason, now)

    def request(self, method: str, now: float, headers: HeaderList, body: bytes, content_type: str) -> TransactionToken:
        """Send another request inside the dialog."""
        if method in _NOT_BY_REQUEST or not is_token(method):
            raise LocalProtocolError(f"{method!r} is no method for this, or has its own operation")
        return self.send_request(method, now, headers, body, content_type)

    def refer(self, refer_to: str, referred_by: str | None, now: float, headers: HeaderList) -> TransactionToken:
        """Send REFER."""
        return self.transfers.refer(refer_to, referred_by, headers, now)

    def notify_transfer(self, code: int, reason: str, now: float, *, is_final: bool) -> bool:
        """Tell the peer how the transfer goes that it has asked for; False when nobody waits for that."""
        return self.is_answered and self.transfers.notify(code, reason, now, is_final=is_final)

    def send_request(self, method: str, now: float, headers: HeaderList, body: bytes = b"", content_type: str = "") -> TransactionToken:
        """Send a request of any method inside the dialog and report its outcome by RequestCompleted."""
        self._require(CallState.ACTIVE, CallState.ANSWERED)
        dialog = self._require_dialog()
        token = self._core.new_token()
        if method == "UPDATE":
            headers = (*headers, ("Supported", self._core.supported), *self.timer.request_headers())
        make = partial(in_dialog, self._core, dialog, method, headers, body, content_type)
        OutgoingRequest(self._core, make, self.credentials, partial(self._on_request_outcome, token, method, body)).send(now)
        self._our_requests[token] = None
        return token

    def dialog_info(self) -> DialogInfo:
        """The dialog as it stands."""
        dialog = self._require_dialog()
        return DialogInfo(
            call_id=dialog.call_id,
            local_tag=dialog.local_tag,
            remote_tag=dialog.remote_tag,
            local_uri=uri_text_of(dialog.local),
            remote_uri=uri_text_of(dialog.remote),
            remote_target=dialog.remote_target,
            established=dialog.is_confirmed,
            user_agent=dialog.user_agent,
        )

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and local tag, which every dialog of the call has; empty while there is none."""
        return (self.dialog.call_id, self.dialog.local_tag) if self.dialog is not None else ("", "")

    # -- requests of the peer -----------------------------------------------------------------------------------------------------------

    @property
    def contact_user(self) -> str:
        """The user part of our Contact in this call."""
        return self.dialog.contact_user if self.dialog is not None else ""

    @property
    def is_active(self) -> bool:
        """Whether the call is answered and acknowledged."""
        return self.state is CallState.ACTIVE

    @property
    def is_answered(self) -> bool:
        """Whether a 2xx has been sent or received, and nobody has hung up."""
        return self.state in (CallState.ACTIVE, CallState.ANSWERED)

    @property
    def is_first_invite_open(self) -> bool:
        """Whether the INVITE that made this call has no final response of ours yet."""
        return self.state is CallState.OFFERED

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """A request inside the dialog; its CSeq has been judged."""
        if self.dialog is not None:
            self.dialog.move(flow)
        match request.method:
            case "INVITE":
                self.renegotiation.handle_invite(transaction, request, now, is_busy=self.is_first_invite_open)
            case "UPDATE":
                self.renegotiation.handle_update(transaction, request, now, is_busy=self.is_first_invite_open)
            case "BYE":
                self._core.reply(transaction, Reply(200, "OK"), now)
                self.on_remote_bye(request, now)
            case "OPTIONS":
                self._core.reply(transaction, options_reply(self._core), now)
            case "PRACK":
                self.handle_prack(transaction, request, now)
            case "REFER":
                self.transfers.handle_refer(transaction, request, now)
            case "NOTIFY" if is_refer_notify(request):
                self.transfers.handle_notify(transaction, request, now)
            case _:
                self._core.emit(RequestReceived(self.handle, self.add_pending(transaction), request))

    def add_pending(self, transaction: ServerTransaction) -> TransactionToken:
        """Have a request wait for `Endpoint.respond`, or for the end of the call."""
        token = self._core.new_token()
        self._core.pending_requests[token] = PendingRequest(self, transaction)
        self._pending_tokens.add(token)
        return token

    def handle_prack(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A PRACK; here it acknowledges nothing (RFC 3262 §3)."""
        del request
        self._core.reply(transaction, Reply(481, "Call/Transaction Does Not Exist"), now)

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """An ACK that belongs to no transaction, so to a 2xx of ours."""
        if not self.renegotiation.handle_ack(request, now):
            self._core.drop(flow, "stray_ack", f"CSeq {request.cseq.number} acknowledges nothing")

    def reply_headers(self, request: Request, code: int) -> HeaderList:
        """What the answer to a request of the peer has to say beside what the leg says."""
        is_silent_refer = request.method == "REFER" and code < 300 and wants_no_notify(request)
        return (("Refer-Sub", "false"),) if is_silent_refer else ()

    def settle(self, token: TransactionToken, request: Request, code: int, now: float) -> None:
        """A request of the peer has had its final response."""
        self._pending_tokens.discard(token)
        if request.method == "REFER" and code < 300:
            self.transfers.accept(request, now)

    def on_remote_bye(self, request: Request, now: float) -> None:
        """The peer has hung up."""
        self.end("remote_bye", now, message=request)

    # -- ends ---------------------------------------------------------------------------------------------------------------------------

    def say_bye(self, now: float, headers: HeaderList = ()) -> None:
        """Send BYE; the dialog is no longer ours to serve."""
        dialog = self._require_dialog()
        self.renegotiation.stop(now)
        Bye(self._core, dialog, self.credentials, now, headers)

    def on_no_ack(self, now: float) -> None:
        """A 2xx of ours was not acknowledged in 64*T1: hang up (§13.3.1.4, §14.2)."""
        if self.state is not CallState.ENDED:
            self.say_bye(now)
            self.end("no_ack", now)

    def expire(self, now: float) -> bool:
        """Nobody has refreshed the session: hang up (RFC 4028 §10). False while the call's state forbids a BYE."""
        if not self.is_active:
            return False
        reason = format_reason(Reason("SIP", 408, "Session expired"))
        self.say_bye(now, (("Reason", reason),))
        self.end("session_expired", now, reason="Session expired")
        return True

    def lose(self, code: int, reason: str, response: Response | None, now: float) -> None:
        """A re-INVITE or a refresh found the peer gone: 408, 481, or not to be sent (§12.2.1.2, §14.1)."""
        if self.state is CallState.ENDED:
            return
        cause = {481: "remote_bye", 503: "transport"}.get(code, "timeout")
        self.say_bye(now)
        self.end(cause, now, code, reason, response)

    def abort(self, now: float) -> None:
        """End the call at once, whatever state it is in and whatever cannot be sent: an error of ours must not leave it behind."""
        faults = self._core.layer.faults
        self._is_aborted = True
        faults.guard("hang_up", lambda: self.hang_up(now, ()))
        if self.state is CallState.ANSWERED:
            faults.guard("bye", lambda: self.say_bye(now))
        self.end("error", now)

    def end(self, cause: str, now: float, code: int | None = None, reason: str = "", message: Request | Response | None = None) -> None:
        """Settle what is open and say CallEnded; a second time changes nothing."""
        if self.state is CallState.ENDED:
            return
        self.state = CallState.ENDED
        cause = "error" if self._is_aborted else cause
        self.timer.stop()
        self.transfers.stop()
        self.renegotiation.stop(now)
        for token in self._pending_tokens:
            pending = self._core.pending_requests.pop(token)
            self._core.reply(pending.transaction, Reply(487, "Request Terminated"), now)
        self._pending_tokens.clear()
        for token in self._our_requests:
            self._core.emit(RequestCompleted(token, 487, "Request Terminated", None, self.handle))
        self._our_requests.clear()
        if self.dialog is not None:
            self._core.remove_dialog(self.dialog, self)
        self._core.remove_call(self)
        self._core.emit(CallEnded(self.handle, cause, code, reason, message))

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    @property
    def _may_have_offer(self) -> bool:
        return self.state in (CallState.ACTIVE, CallState.ANSWERED, CallState.OFFERED)

    def _require(self, *states: CallState) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"the call is {self.state.name.lower()}")

    def _require_dialog(self) -> Dialog:
        if self.dialog is None:
            raise LocalProtocolError("the call has no dialog yet")
        return self.dialog

    def _on_request_outcome(
        self,
        token: TransactionToken,
        method: str,
        body: bytes,
        code: int,
        reason: str,
        response: Response | None,
        flow: Flow | None,
        now: float,
    ) -> None:
        del flow
        if token not in self._our_requests:
            return
        del self._our_requests[token]
        if method == "UPDATE" and response is not None and code < 300 and self.dialog is not None:
            self.dialog.refresh_target(response)
            self.timer.take_response(response, now)
            self.local_sdp = body or self.local_sdp
            self.remote_sdp = session_description(response) or self.remote_sdp
        self._core.emit(RequestCompleted(token, code, reason, response, self.handle))
        if method == "REFER":
            self.transfers.on_refer_outcome(token, response, now)


def uri_text_of(value: str) -> str:
    """The URI in a From or To value."""
    try:
        return parse_name_addr(value).uri_text
    except ParseError:
        pass
    if "<" in value:
        return value.partition("<")[2].partition(">")[0]
    return value.partition(";")[0].strip()
