"""The operations of an endpoint for legs: place, answer and end calls, send requests, register.

An operation that settles something returns False and does nothing if it is already settled: the call has ended, or the request has had its
final response. LocalProtocolError means that no state allows the operation: a code out of range, a header that corrupts the message.
"""

from __future__ import annotations

from functools import partial

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.calls import Calls
from active_call.sip.context import EndpointContext
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.dialog.outbound import OutboundCall
from active_call.sip.dialog.requests import Attempt, OutgoingRequest, add_body, outside
from active_call.sip.events import (
    CallHandle,
    Flow,
    HeaderList,
    OutboundInvite,
    RegistrationHandle,
    RegistrationSpec,
    RequestCompleted,
    TransactionToken,
    TransportName,
)
from active_call.sip.registration import Registration
from active_call.sip.registrations import Registrations
from active_call.sip.responses import Reply, checked_reason
from active_call.sip.routing import uri_of
from active_call.sip.syntax.grammar import is_token
from active_call.sip.syntax.headers import Headers, format_name_addr
from active_call.sip.syntax.message import Response
from active_call.sip.transaction.origin import Origin


class Operations:
    """See the module. `now` is monotonic seconds."""

    def __init__(self, core: EndpointContext) -> None:
        self._core = core
        self._calls = Calls(core.randomness, core.layer.faults, core.admission.n_by_address)
        core.layer.on_fault = self._calls.handle_fault
        self._registrations = Registrations()

    # -- operations ---------------------------------------------------------------------------------------------------------------------

    def invite(self, spec: OutboundInvite, now: float) -> CallHandle:
        """Place a call. CallProgress, CallAnswered and CallEnded follow."""
        call = OutboundCall(self._core, self._calls, spec)
        call.start(now)
        return call.handle

    # The operations below return False if there is nothing to settle; see the module.

    def ring(self, call: CallHandle, now: float, *, sdp: bytes | None = None, headers: HeaderList = ()) -> bool:
        """Send 180, or 183 with early media. False unless an incoming call waits for its answer."""
        known = self._calls.get(call)
        return known is not None and known.ring(now, sdp, headers)

    def answer(self, call: CallHandle, sdp: bytes, now: float, *, headers: HeaderList = ()) -> bool:
        """Send the 200 and repeat it until the ACK. CallConfirmed follows, or CallEnded(`no_ack`). False as for `ring`."""
        known = self._calls.get(call)
        return known is not None and known.answer(sdp, now, headers)

    def reject(self, call: CallHandle, code: int, reason: str, now: float, *, headers: HeaderList = ()) -> bool:
        """Refuse an incoming call with a final response of 300 or above. False as for `ring`."""
        reason = checked_reason(reason)
        known = self._calls.get(call)
        return known is not None and known.reject(code, reason, now, headers)

    def hang_up(self, call: CallHandle, now: float, *, headers: HeaderList = ()) -> bool:
        """End the call by CANCEL, 603 or BYE, as its state requires. `headers` go into that message. False if the call has ended."""
        Headers(headers)  # may be sent later only: raise now if they are malformed
        known = self._calls.get(call)
        if known is None:
            return False
        try:
            known.hang_up(now, headers)
        except Exception as error:  # noqa: BLE001 (hanging up must end the call, even if nothing can be sent)
            self._calls.abort("hang_up", error, known, now)
        return True

    def offer(self, call: CallHandle, sdp: bytes | None, now: float, *, headers: HeaderList = ()) -> bool:
        """Send a re-INVITE; without `sdp` it asks for the peer's offer. OfferAnswered follows.

        False while another offer is open, and for a call that is unanswered or has ended.
        """
        known = self._calls.get(call)
        return known is not None and known.offer(sdp, now, headers)

    def check_peer(self, call: CallHandle, now: float) -> None:
        """Ask, by UPDATE or re-INVITE without a change, whether the peer still has the call. CallEnded follows if it does not.

        No effect for a call that is not answered or has ended.
        """
        known = self._calls.get(call)
        if known is not None:
            known.check_peer(now)

    def answer_offer(self, call: CallHandle, sdp: bytes, now: float) -> bool:
        """Answer OfferReceived. If a 2xx to our INVITE carried the offer, send the ACK with our answer.

        False if no offer is open.
        """
        known = self._calls.get(call)
        return known is not None and known.answer_offer(sdp, now)

    def refuse_offer(self, call: CallHandle, code: int, reason: str, now: float, *, headers: HeaderList = ()) -> bool:
        """Refuse OfferReceived; the session does not change. False if no offer is open."""
        reason = checked_reason(reason)
        known = self._calls.get(call)
        return known is not None and known.refuse_offer(code, reason, now, headers)

    def request(
        self, call: CallHandle, method: str, now: float, *, headers: HeaderList = (), body: bytes = b"", content_type: str = ""
    ) -> TransactionToken:
        """Send INFO, MESSAGE, NOTIFY, UPDATE … inside the call. RequestCompleted follows.

        Raises LocalProtocolError if the call is unanswered or has ended.
        """
        return self._calls.require(call).request(method, now, headers, body, content_type)

    def respond(
        self,
        token: TransactionToken,
        code: int,
        reason: str,
        now: float,
        *,
        headers: HeaderList = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> bool:
        """Answer RequestReceived or TransferRequested. False if it has been answered or its call has ended.

        408 and provisional responses other than 100 are not allowed (RFC 4320 §4).
        """
        if not 100 <= code <= 699:
            raise LocalProtocolError(f"{code} is not a SIP status code")
        if 100 < code < 200 or code == 408:
            raise LocalProtocolError(f"{code} may not answer a request other than INVITE (RFC 4320 §4)")
        reason = checked_reason(reason)
        pending = self._calls.pending(token)
        if pending is None:
            return False
        contact = pending.call.contact_user if pending.transaction.request.method in ("REFER", "NOTIFY") and code < 300 else None
        request = pending.transaction.request
        headers = (*headers, *pending.call.reply_headers(request, code))
        self._core.reply(pending.transaction, Reply(code, reason, headers, body, content_type, contact), now)
        if code >= 200:
            self._calls.take_pending(token)
            pending.call.settle(token, request, code, now)
        return True

    def refer(
        self, call: CallHandle, refer_to: str, now: float, *, referred_by: str | None = None, headers: HeaderList = ()
    ) -> TransactionToken:
        """Ask the peer to call `refer_to`. RequestCompleted follows, and after a 2xx TransferProgress until one is `final`.

        `refer_to` and `referred_by` are URIs or name-addr values. For an attended transfer `refer_to` has an escaped `?Replaces=…`.
        """
        return self._calls.require(call).refer(refer_to, referred_by, now, headers)

    def notify_transfer(self, call: CallHandle, code: int, reason: str, now: float, *, final: bool) -> bool:
        """After a 2xx to TransferRequested: report the target's response to the peer. `final` ends the subscription.

        False if the end was reported, the peer has unsubscribed or the call has ended.
        """
        known = self._calls.get(call)
        return known is not None and known.notify_transfer(code, reason, now, is_final=final)

    def request_outside(
        self,
        method: str,
        target_uri: str,
        now: float,
        *,
        from_uri: str | None = None,
        to_uri: str | None = None,
        headers: HeaderList = (),
        transport: TransportName | None = None,
        local_host: str | None = None,
    ) -> TransactionToken:
        """Send OPTIONS or the like outside any dialog, without credentials. RequestCompleted follows, with `call` None.

        `from_uri` and `to_uri` default to `target_uri`. Our Contact is added unless `headers` contains one.
        """
        if method in ("INVITE", "ACK", "CANCEL", "BYE") or not is_token(method):
            raise LocalProtocolError(f"{method} is not sent outside a call")
        core = self._core
        token = core.new_token()
        call_id = core.randomness.uuid()
        from_value = format_name_addr(from_uri or target_uri, parameters={"tag": core.new_tag()})
        user = None if any(name.lower() in ("contact", "m") for name, _ in headers) else _user_of(from_uri or "")

        def make() -> Attempt:
            request, target = outside(
                core,
                method,
                target_uri,
                from_value=from_value,
                to_uri=to_uri or target_uri,
                call_id=call_id,
                cseq=1,
                proxy=None,
                transport=transport,
            )
            add_body(request, headers)
            return request, target, Origin(user, None, local_host)

        OutgoingRequest(core, make, (), partial(self._on_outside_outcome, token)).send(now)
        return token

    def register(self, spec: RegistrationSpec, now: float) -> RegistrationHandle:
        """Bind our contact to an address of record and keep it bound. RegistrationChanged follows, now and on every change."""
        registration = Registration(self._core, self._registrations, spec)
        registration.start(now)
        return registration.handle

    def unregister(self, registration: RegistrationHandle, now: float) -> None:
        """Remove the binding. RegistrationChanged(`unregistered`) is its last event. No effect if the registration is gone."""
        known = self._registrations.get(registration)
        if known is not None:
            known.close(now)

    def dialog_info(self, call: CallHandle) -> DialogInfo:
        """A snapshot of the call's dialog."""
        return self._calls.require(call).dialog_info()

    def peer_address(self, call: CallHandle) -> str:
        """The address of the call's peer; empty before its first message."""
        known = self._calls.get(call)
        return known.dialog.flow.remote.host if known is not None and known.dialog is not None else ""

    def peer_transport(self, call: CallHandle) -> str:
        """The transport of the peer's messages; empty before its first message."""
        known = self._calls.get(call)
        return known.dialog.flow.transport if known is not None and known.dialog is not None else ""

    def is_alive(self, call: CallHandle) -> bool:
        """Whether the call is active. For an ended call, CallEnded is among the events."""
        return call in self._calls

    def _on_outside_outcome(
        self, token: TransactionToken, code: int, reason: str, response: Response | None, flow: Flow | None, now: float
    ) -> None:
        del flow, now
        self._core.emit(RequestCompleted(token, code, reason, response))


def _user_of(uri: str) -> str:
    try:
        return uri_of(uri).user or ""
    except ParseError:
        return ""
