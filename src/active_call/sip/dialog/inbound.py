"""An incoming call: ring, answer, reject, and what the caller may send meanwhile (RFC 3261 §13.3, §15).

The dialog exists from the INVITE on and is early until the 2xx. If the caller requires it, provisional responses are reliable (RFC 3262):
the 2xx then waits for the PRACK of a session description, and a response without a PRACK within 64*T1 ends the INVITE with 504. Between the
2xx and its ACK our BYE waits (§15). Without an ACK within 64*T1 the call is hung up.
"""

from __future__ import annotations

from active_call.base.errors import LocalProtocolError
from active_call.sip.dialog.call import Call, CallTable
from active_call.sip.dialog.decisions import Decision, EndCall
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_server import ServerInvite
from active_call.sip.dialog.provisional import wants_reliable
from active_call.sip.dialog.usage import CallState
from active_call.sip.events import CallConfirmed, CallHandle, Flow, HeaderList, IncomingCall, OfferAnswered, ProvisionalAcknowledged
from active_call.sip.ports import CallPort
from active_call.sip.responses import Reply
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.transaction.server import ServerTransaction


class InboundCall(Call):
    """See the module. The constructor emits IncomingCall."""

    def __init__(
        self,
        endpoint: CallPort,
        calls: CallTable,
        transaction: ServerTransaction,
        dialog: Dialog,
        replaces: CallHandle | None = None,
        *,
        trunk: str = "",
        address: str = "",
    ) -> None:
        super().__init__(endpoint, calls, CallState.OFFERED, trunk=trunk, address=address)
        transaction.to_tag = dialog.local_tag
        self.dialog = dialog
        self._bye_headers: HeaderList | None = None
        self._is_early_answered = False
        self._invite = ServerInvite(self, transaction, self, dialog.contact_user)
        if wants_reliable(endpoint.config, transaction.request):
            self._invite.make_reliable(self._on_prack_missing)
        endpoint.add_dialog(dialog, self)
        self.emit(IncomingCall(self.handle, transaction.request, transaction.flow, self._invite.sdp, replaces, trunk))

    def ring(self, now: float, sdp: bytes | None, headers: HeaderList) -> bool:
        """Send 180, or 183 with a session description. False once the call is answered."""
        if self.state is not CallState.OFFERED:
            return False
        code, reason = (180, "Ringing") if sdp is None else (183, "Session Progress")
        return self._invite.progress(code, reason, now, headers=headers, sdp=sdp)

    def answer(self, sdp: bytes, now: float, headers: HeaderList) -> bool:
        """Send the 200. It waits for the PRACK of an early description. False once the call is answered."""
        if self.state is not CallState.OFFERED:
            return False
        Headers(headers)
        self._invite.accept(sdp, now, (*headers, *self.timer.answer(self._invite.request, now)))
        self.state = CallState.ANSWERED
        self.descriptions.local = self._invite.early_sdp or sdp
        self.descriptions.remote = self._invite.sdp or self.descriptions.remote
        self.require_dialog().is_confirmed = True
        return True

    def reject(self, code: int, reason: str, now: float, headers: HeaderList) -> bool:
        """Send a final response of 300 or above. False once the call is answered."""
        if not 300 <= code <= 699:
            raise LocalProtocolError(f"code {code} cannot reject a call; expected 300 to 699")
        if self.state is not CallState.OFFERED:
            return False
        self._invite.refuse(code, reason, now, headers)
        self.end("local_reject", now, code, reason)
        return True

    def hang_up(self, now: float, headers: HeaderList) -> None:
        """Refuse with 603, or send BYE. Between our 200 and its ACK the BYE waits (§15)."""
        if self.state is CallState.OFFERED:
            self.reject(603, "Decline", now, headers)
        elif self._invite.is_pending:
            self._invite.refuse(603, "Decline", now, headers)
            self.end("local_reject", now, 603, "Decline")
        elif self.state is CallState.ANSWERED:
            self._bye_headers = self._bye_headers if self._bye_headers is not None else headers
        else:
            super().hang_up(now, headers)

    @property
    def is_first_invite_open(self) -> bool:
        """Whether the INVITE has no final response yet. An accepted one may wait for a PRACK."""
        return self._invite.is_pending

    def handle_prack(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Handle a PRACK: match the response that it acknowledges, and process its session description (RFC 3262 §5)."""
        if not self._invite.take_prack(request):
            super().handle_prack(transaction, request, now)
            return
        self.emit(ProvisionalAcknowledged(self.handle))
        sdp = session_description(request)
        self.descriptions.local = self._invite.early_sdp or self.descriptions.local
        if sdp is not None and (self._invite.sdp is not None or self._is_early_answered):
            refusal = self.offers.handle_prack_offer(transaction, request)
            if refusal is not None:
                self.respond(transaction, refusal, now)
        else:
            self.respond(transaction, Reply(200, "OK"), now)
            if sdp is not None:
                self._is_early_answered = True
                self.descriptions.remote = sdp
                self.emit(OfferAnswered(self.handle, 200, sdp))
        self._invite.resume(now)

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Handle the ACK to the 200 of the first INVITE or of a re-INVITE."""
        if self.state is CallState.ANSWERED and request.cseq.number == self._invite.cseq:
            self._invite.on_ack(request, now)
        elif request.cseq.number != self._invite.cseq:
            super().handle_ack(request, flow, now)

    def on_remote_bye(self, request: Request, now: float) -> None:
        """The caller has hung up. An open INVITE gets 487."""
        if self._invite.is_pending:
            self._invite.refuse(487, "Request Terminated", now)
        super().on_remote_bye(request, now)

    def on_invite_acknowledged(self, invite: ServerInvite, sdp: bytes | None, now: float) -> None:
        """The ACK has arrived: the call becomes active, or is hung up if a BYE was waiting."""
        self.state = CallState.ACTIVE
        self.descriptions.remote = sdp or self.descriptions.remote
        if self._bye_headers is not None:
            self.hang_up(now, self._bye_headers)
            return
        self.emit(CallConfirmed(self.handle, sdp if invite.sdp is None else None))

    def on_invite_unacknowledged(self, invite: ServerInvite, now: float) -> Decision:
        """No ACK within 64*T1: send BYE (§13.3.1.4)."""
        del invite, now
        self.require_dialog().is_address_validated = self._invite.transaction.is_address_validated
        return EndCall("no_ack") if self._bye_headers is None else EndCall("local_bye", bye_headers=self._bye_headers)

    def _on_prack_missing(self, now: float) -> Decision:
        """A provisional response without a PRACK ends the INVITE with a 5xx (RFC 3262 §3)."""
        self._invite.refuse(504, "Server Time-out", now)
        self.end("timeout", now, 504, "Server Time-out")
        return None

    def on_invite_cancelled(self, invite: ServerInvite, request: Request, now: float) -> None:
        """A CANCEL has arrived. The INVITE already has its 487."""
        del invite
        self.end("cancelled", now, 487, "Request Terminated", request)

    def end(self, cause: str, now: float, code: int | None = None, reason: str = "", message: Request | Response | None = None) -> None:
        """Stop the INVITE, then do as `Call.end`."""
        self._invite.stop()
        super().end(cause, now, code, reason, message)
