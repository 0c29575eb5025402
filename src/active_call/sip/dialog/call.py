"""One call: the INVITE usage, from its first message to its single CallEnded (RFC 3261 §13-15).

    OFFERED ──answer──> ANSWERED ──ACK──> ACTIVE ──┐
    CALLING ──2xx──────────────────────> ACTIVE ──┤
    CALLING ──hang_up, ring timeout──> CANCELLING ─┴──> ENDED

`InboundCall` and `OutboundCall` are the two kinds. This module has what they share: in-dialog requests, BYE and the end. Whichever side
ends a call, open requests are settled first: the peer's get 487, ours are reported as 487. CallEnded is the last event.

The parts (session timer, re-INVITE, REFER) see the call only through `DialogPort`. They return decisions, and the call acts on them.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol, assert_never

from active_call.base.errors import LocalProtocolError
from active_call.sip.access.screening import options_reply
from active_call.sip.dialog.bye import Bye
from active_call.sip.dialog.decisions import Decision, EndCall, RefreshByInvite
from active_call.sip.dialog.info import DialogInfo, info_of
from active_call.sip.dialog.invite_client import ClientInvite
from active_call.sip.dialog.refer import Refers, is_refer_notify, wants_no_notify
from active_call.sip.dialog.reinvite import OfferExchange
from active_call.sip.dialog.session_timer import SessionTimer
from active_call.sip.dialog.usage import CallState, Usage
from active_call.sip.events import (
    CallEnded,
    Credentials,
    Flow,
    HeaderList,
    RequestCompleted,
    RequestReceived,
    TransactionToken,
    TransferRequested,
)
from active_call.sip.ports import CallPort
from active_call.sip.responses import Reply
from active_call.sip.syntax.grammar import is_token
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.transaction.server import ServerTransaction

_NOT_BY_REQUEST = frozenset(("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "REFER"))
_BAD_EVENT = Reply(489, "Bad Event", (("Allow-Events", "refer"),))
"""To a NOTIFY of a package that we do not support (RFC 6665 §4.1.3, §8.3.2). PJSIP ends its call at a 481 to any request inside it."""


class CallTable(Protocol):
    """The table of active calls. A call adds itself when it starts and removes itself when it ends."""

    def add(self, call: Call) -> None:
        """Add a new call."""

    def remove(self, call: Call) -> None:
        """Remove a call that has ended."""

    def add_pending(self, call: Call, transaction: ServerTransaction) -> TransactionToken:
        """Keep a request of the peer until `Endpoint.respond` answers it. Returns its token."""

    def take_pending(self, token: TransactionToken) -> ServerTransaction:
        """Remove the request with that token from the pending ones and return it."""


class Call(Usage):
    """What inbound and outbound calls have in common."""

    def __init__(
        self,
        endpoint: CallPort,
        calls: CallTable,
        state: CallState,
        credentials: tuple[Credentials, ...] = (),
        *,
        trunk: str = "",
        address: str = "",
        session_expires_s: int | None = None,
    ) -> None:
        super().__init__(endpoint, state, credentials)
        self._calls = calls
        self._pending_tokens: set[TransactionToken] = set()
        self._our_requests: dict[TransactionToken, None] = {}
        self._is_aborted = False
        self.trunk = trunk
        self.address = address
        """The unknown address that called, as admission counts it; empty for all other calls."""
        self.timer = SessionTimer(self, session_expires_s)
        self.offers = OfferExchange(self, self.timer)
        self.refers = Refers(self)
        calls.add(self)

    # -- operations ---------------------------------------------------------------------------------------------------------------------

    def ring(self, now: float, sdp: bytes | None, headers: HeaderList) -> bool:
        """Send 180, or 183 with a session description. False unless the call is incoming and unanswered."""
        return False

    def answer(self, sdp: bytes, now: float, headers: HeaderList) -> bool:
        """Send the 200. False unless the call is incoming and unanswered."""
        return False

    def reject(self, code: int, reason: str, now: float, headers: HeaderList) -> bool:
        """Send a final response of 300 or above. False unless the call is incoming and unanswered."""
        return False

    def hang_up(self, now: float, headers: HeaderList) -> None:
        """End the call by the request or response that its state requires."""
        if self.state is CallState.ACTIVE:
            self.send_bye(now, headers)
            self.end("local_bye", now)

    def offer(self, sdp: bytes | None, now: float, headers: HeaderList) -> bool:
        """Send a re-INVITE. False if the call is not answered yet or another offer is open."""
        return self.state is CallState.ACTIVE and self.offers.offer(sdp, headers, now)

    def check_peer(self, now: float) -> None:
        """Ask whether the peer still has the call. A 408, 481 or no response ends it."""
        self.act(self.timer.check_peer(now), now)

    def answer_offer(self, sdp: bytes, now: float) -> bool:
        """Answer the peer's open offer. False if none is open."""
        return self._may_have_offer and self.offers.answer_offer(sdp, now)

    def refuse_offer(self, code: int, reason: str, now: float, headers: HeaderList = ()) -> bool:
        """Refuse the peer's open offer. False if none is open."""
        return self._may_have_offer and self.offers.refuse_offer(code, reason, now, headers)

    def request(self, method: str, now: float, headers: HeaderList, body: bytes, content_type: str) -> TransactionToken:
        """Send another request inside the dialog."""
        if method in _NOT_BY_REQUEST or not is_token(method):
            raise LocalProtocolError(f"{method!r} cannot be sent this way")
        return self.send_reported_request(method, now, headers, body, content_type)

    def refer(self, refer_to: str, referred_by: str | None, now: float, headers: HeaderList) -> TransactionToken:
        """Send REFER."""
        return self.refers.refer(refer_to, referred_by, headers, now)

    def notify_transfer(self, code: int, reason: str, now: float, *, is_final: bool) -> bool:
        """Report the progress of the transfer that the peer requested. False if the peer has no subscription for it."""
        return self.is_answered and self.refers.notify(code, reason, now, is_final=is_final)

    def send_reported_request(
        self, method: str, now: float, headers: HeaderList, body: bytes = b"", content_type: str = ""
    ) -> TransactionToken:
        """Send an in-dialog request of any method. RequestCompleted reports its outcome."""
        self._require(CallState.ACTIVE, CallState.ANSWERED)
        token = self._endpoint.new_token()
        if method == "UPDATE":
            headers = (*headers, ("Supported", self.config.supported_header), *self.timer.request_headers())
        outcome = partial(self._on_request_outcome, token, method, body)
        self.send_request(method, headers, now, body=body, content_type=content_type, on_outcome=outcome)
        self._our_requests[token] = None
        return token

    def dialog_info(self) -> DialogInfo:
        """A snapshot of the dialog."""
        return info_of(self.require_dialog())

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and local tag, which all dialogs of the call share; empty before the first dialog."""
        return (self.dialog.call_id, self.dialog.local_tag) if self.dialog is not None else ("", "")

    # -- requests of the peer -----------------------------------------------------------------------------------------------------------

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """Handle an in-dialog request. Its CSeq has been checked."""
        if self.dialog is not None:
            self.dialog.move(flow)
        match request.method:
            case "INVITE":
                reply = self.offers.handle_invite(transaction, request, now, is_busy=self.is_first_invite_open)
            case "UPDATE":
                reply = self.offers.handle_update(transaction, request, now, is_busy=self.is_first_invite_open)
            case "BYE":
                self.respond(transaction, Reply(200, "OK"), now)
                self.on_remote_bye(request, now)
                return
            case "OPTIONS":
                reply = options_reply(self._endpoint)
            case "PRACK":
                self.handle_prack(transaction, request, now)
                return
            case "REFER":
                reply = self._handle_refer(transaction, request)
            case "NOTIFY":
                reply = self.refers.handle_notify(request, now) if is_refer_notify(request) else _BAD_EVENT
            case _:
                self.emit(RequestReceived(self.handle, self._add_pending(transaction), request))
                return
        if reply is not None:
            self.respond(transaction, reply, now)

    def _handle_refer(self, transaction: ServerTransaction, request: Request) -> Reply | None:
        wanted = self.refers.judge_refer(request)
        if isinstance(wanted, Reply):
            return wanted
        token = self._add_pending(transaction)
        self.emit(TransferRequested(self.handle, token, wanted.refer_to, wanted.referred_by, wanted.replaces, wanted.headers))
        return None

    def _add_pending(self, transaction: ServerTransaction) -> TransactionToken:
        """Keep a request until `Endpoint.respond` answers it or the call ends."""
        token = self._calls.add_pending(self, transaction)
        self._pending_tokens.add(token)
        return token

    def handle_prack(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Handle a PRACK. In this state it acknowledges nothing (RFC 3262 §3)."""
        del request
        self.respond(transaction, Reply(481, "Call/Transaction Does Not Exist"), now)

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Handle an ACK that belongs to no transaction, so it acknowledges one of our 2xx."""
        if not self.offers.handle_ack(request, now):
            self._endpoint.drop(flow, "stray_ack", f"CSeq {request.cseq.number} acknowledges nothing")

    def reply_headers(self, request: Request, code: int) -> HeaderList:
        """Headers that our answer to a peer's request needs in addition to those of the leg."""
        is_silent_refer = request.method == "REFER" and code < 300 and wants_no_notify(request)
        return (("Refer-Sub", "false"),) if is_silent_refer else ()

    def settle(self, token: TransactionToken, request: Request, code: int, now: float) -> None:
        """Finish a request of the peer after its final response."""
        self._pending_tokens.discard(token)
        if request.method == "REFER" and code < 300:
            self.refers.accept(request, now)

    def on_remote_bye(self, request: Request, now: float) -> None:
        """The peer has sent BYE."""
        self.end("remote_bye", now, message=request)

    # -- our re-INVITEs -----------------------------------------------------------------------------------------------------------------

    def on_invite_progress(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """Handle a provisional response to our re-INVITE."""
        del flow
        self.offers.on_invite_progress(invite, response, now)

    def on_invite_success(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """Handle a 2xx to our re-INVITE."""
        del flow
        self.offers.on_invite_success(invite, response, now)

    def on_invite_failure(self, invite: ClientInvite, code: int, reason: str, response: Response | None, now: float) -> None:
        """Handle a refusal or a timeout of our re-INVITE."""
        self.act(self.offers.on_invite_failure(invite, code, reason, response, now), now)

    # -- ends ---------------------------------------------------------------------------------------------------------------------------

    def send_bye(self, now: float, headers: HeaderList = ()) -> None:
        """Send BYE. From then on `Bye` serves the dialog."""
        dialog = self.require_dialog()
        self.offers.stop(now)
        Bye(self._endpoint, dialog, self.credentials, now, headers)

    def act(self, decision: Decision, now: float) -> None:
        """Carry out the decision of a part."""
        match decision:
            case None:
                return
            case EndCall():
                if self.state is not CallState.ENDED:
                    self.send_bye(now, decision.bye_headers)
                    self.end(decision.cause, now, decision.code, decision.reason, decision.message)
            case RefreshByInvite():
                self._refresh_by_invite(now)
            case _:
                assert_never(decision)

    def _refresh_by_invite(self, now: float) -> None:
        try:
            if self.offers.refresh(now):
                self.timer.on_refresh_sent()
        except LocalProtocolError:
            self.timer.on_refresh_refused(now)

    def abort(self, now: float) -> None:
        """End the call at once in any state, even if no BYE can be sent. Used after an internal error."""
        self._is_aborted = True
        self._endpoint.guard("hang_up", lambda: self.hang_up(now, ()))
        if self.state is CallState.ANSWERED:
            self._endpoint.guard("bye", lambda: self.send_bye(now))
        self.end("error", now)

    def end(self, cause: str, now: float, code: int | None = None, reason: str = "", message: Request | Response | None = None) -> None:
        """Settle open requests and emit CallEnded. A second call has no effect."""
        if self.state is CallState.ENDED:
            return
        self.state = CallState.ENDED
        cause = "error" if self._is_aborted else cause
        self.timer.stop()
        self.refers.stop()
        self.offers.stop(now)
        for token in self._pending_tokens:
            self.respond(self._calls.take_pending(token), Reply(487, "Request Terminated"), now)
        self._pending_tokens.clear()
        for token in self._our_requests:
            self.emit(RequestCompleted(token, 487, "Request Terminated", None, self.handle))
        self._our_requests.clear()
        if self.dialog is not None:
            self._endpoint.remove_dialog(self.dialog, self)
        self._calls.remove(self)
        self.emit(CallEnded(self.handle, cause, code, reason, message))

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    @property
    def _may_have_offer(self) -> bool:
        return self.state in (CallState.ACTIVE, CallState.ANSWERED, CallState.OFFERED)

    def _require(self, *states: CallState) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"the call is {self.state.name.lower()}")

    def _on_request_outcome(
        self, token: TransactionToken, method: str, body: bytes, code: int, reason: str, response: Response | None, now: float
    ) -> Decision:
        if token not in self._our_requests:
            return None
        del self._our_requests[token]
        if method == "UPDATE" and response is not None and code < 300 and self.dialog is not None:
            self.dialog.refresh_target(response)
            self.timer.take_response(response, now)
            self.descriptions.local = body or self.descriptions.local
            self.descriptions.remote = session_description(response) or self.descriptions.remote
        self.emit(RequestCompleted(token, code, reason, response, self.handle))
        if method == "REFER":
            self.refers.on_refer_outcome(token, response, now)
        return None
