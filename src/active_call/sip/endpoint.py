"""The SIP endpoint: the one door to the core. Bytes and time in; transmits, events and alarms out (RFC 3261 as a user agent).

The driver feeds `receive_*` and `handle_*`, then drains `take_transmits`, `take_look_ups`, `take_events` and `take_closes`, and calls
`handle_timeout` at `next_timeout`. Legs call the operations and read the events. `now` is monotonic seconds and never goes back. Nothing
here knows sockets, name resolution, media or session descriptions' contents: an SDP is bytes.

    endpoint ── dispatch ── screening                                      who is a message for; what is refused unheard
        │          └─ inbound_call, outbound_call ── call                  the INVITE usage
        │                 ├─ renegotiation, farewell                       offers inside the call; BYE
        │                 ├─ invite_server, invite_client                  one INVITE with its 2xx and ACK
        │                 └─ requests ── credentials                       other requests; digest
        └── transaction_layer ── client_transaction, server_transaction    the tables of `transaction`
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.base.world import Randomness
from active_call.sip.access.reading import MAX_STRANGER_BODY_BYTES, MAX_STRANGER_HEADER_BYTES, Reader, Standing
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.context import EndpointContext, Reply, add_body, checked_reason
from active_call.sip.dialog.call import Call
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.dialog.outbound import OutboundCall
from active_call.sip.dialog.requests import Attempt, OutgoingRequest, outside
from active_call.sip.dispatch import Dispatcher
from active_call.sip.events import (
    CallHandle,
    Credentials,
    EndpointConfig,
    Flow,
    HeaderList,
    Listener,
    LookUp,
    OutboundInvite,
    RegistrationHandle,
    RegistrationSpec,
    RequestCompleted,
    RequestRefused,
    SipEvent,
    Target,
    TransactionToken,
    Transmit,
    TransportName,
)
from active_call.sip.registration import Registration
from active_call.sip.routing import uri_of
from active_call.sip.syntax.framing import PING_BYTES, PONG_BYTES, MessageTooLarge, Ping, StreamFramer
from active_call.sip.syntax.grammar import is_token
from active_call.sip.syntax.headers import Headers, format_name_addr
from active_call.sip.syntax.message import Response
from active_call.sip.transaction.layer import TransactionLayer
from active_call.sip.transaction.origin import Origin

__all__ = ["DialogInfo", "Endpoint"]

MAX_PINGS = 100
PING_WINDOW_S = 10.0
"""RFC 5626 §4.4.1 has a ping every 24 s at the most often; a hundred in ten seconds keep no binding open."""


class Endpoint:
    """Sans-IO SIP user agent. Inputs never raise; operations raise nothing but LocalProtocolError."""

    def __init__(self, config: EndpointConfig, randomness: Randomness, door: RequestAdmission | None = None) -> None:
        self._core = EndpointContext(config, randomness, TransactionLayer(config, randomness), door or RequestAdmission())
        self._dispatcher = Dispatcher(self._core)
        self._framers: dict[int, StreamFramer] = {}
        self._half_read: dict[int, float] = {}
        self._heard_at: dict[int, float] = {}
        self._pings: dict[int, tuple[float, int]] = {}
        self._reader = Reader(self._core)
        self._closes: list[Flow] = []

    # -- inputs -------------------------------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, flow: Flow, now: float) -> None:
        """One UDP datagram or WebSocket message. Blank ones keep NAT bindings open; a ping over WebSocket is answered (RFC 5626 §3.5.1)."""
        if not data.strip(b"\r\n\t \0"):
            if flow.connection_id is not None and data == PING_BYTES:
                self._answer_pings(1, flow, now)
            return
        standing = self._reader.standing(flow, now)
        if standing == "silenced":
            self._pass_over(flow)
        elif len(data) > self._core.config.max_message_bytes:
            self._core.drop(flow, "too_large", f"{len(data)} bytes")
        else:
            self._receive(data, flow, now, is_known=standing == "known")

    def receive_stream(self, data: bytes, flow: Flow, now: float) -> None:
        """Bytes of a connection, cut anywhere. A stream that cannot be read any further is named by `take_closes`."""
        connection_id = flow.connection_id
        if connection_id is None:
            self.receive_datagram(data, flow, now)
            return
        standing = self._reader.standing(flow, now)
        framer = self._framers.get(connection_id)
        if framer is None:
            framer = self._framers[connection_id] = _framer_for(standing)
        elif framer.failure is not None:
            return
        if standing == "silenced":
            self._pass_over(flow)
            self._closes.append(flow)
            return
        try:
            items = framer.feed(data)
        except ParseError:
            items = []
        if not framer.is_half_read:
            self._half_read.pop(connection_id, None)
        elif items or connection_id not in self._half_read:
            self._half_read[connection_id] = now
        n_pings = 0
        for item in items:
            if isinstance(item, bytes):
                self._receive(item, flow, now, is_known=standing == "known")
            elif isinstance(item, Ping):
                n_pings += 1
        if n_pings:
            self._answer_pings(n_pings, flow, now)
        if framer.failure is not None:
            if isinstance(framer.failure, MessageTooLarge):
                self._core.drop(flow, "too_large", str(framer.failure))
            else:
                self._dispatcher.refuse_unreadable(framer.rejected, flow, framer.failure, now)
            self._closes.append(flow)

    def half_read_since(self, flow: Flow) -> float | None:
        """Since when a message on that connection waits for its rest; None between messages."""
        return self._half_read.get(flow.connection_id) if flow.connection_id is not None else None

    def standing_of(self, host: str, now: float) -> Standing:
        """Who is at that address, as far as it decides what is read and which connections are taken."""
        return self._reader.standing_of(host, now)

    def idle_since(self, connection_id: int) -> float | None:
        """When the last message has come on that connection; None where none has."""
        return self._heard_at.get(connection_id)

    def connections_in_use(self) -> set[int]:
        """The connections by which calls, registrations or requests are under way."""
        dialogs = {entry.dialog.flow.connection_id for entry in self._core.dialogs.values()}
        return {one for one in dialogs | self._core.layer.connections_in_use() if one is not None}

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """A stream connection is gone. Open transactions find another way (RFC 3261 §18.2.2, §18.4)."""
        if flow.connection_id is not None:
            self._framers.pop(flow.connection_id, None)
            self._half_read.pop(flow.connection_id, None)
            self._pings.pop(flow.connection_id, None)
            self._heard_at.pop(flow.connection_id, None)
        self._core.layer.handle_connection_lost(flow, reason, now)
        for registration in list(self._core.registrations.values()):
            self._core.layer.faults.guard("connection_lost", partial(registration.handle_connection_lost, flow, now))

    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None:
        """The transmit of that id could not be carried out."""
        self._core.layer.handle_transport_error(transmit_id, reason, now)

    def handle_unreachable(self, transmit_id: int, reason: str, now: float) -> None:
        """The network has turned the transmit of that id back (ICMP, §18.4); whether the peer is gone for good it does not say."""
        self._core.layer.handle_unreachable(transmit_id, reason, now)

    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The resolver's answer to one of `take_look_ups`: the places in order, or none and why."""
        self._core.layer.hops.handle_look_up(look_up_id, hops, reason, now)

    def handle_timeout(self, now: float) -> None:
        """Run what is due."""
        self._core.layer.timers.run_due(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called next, None while nothing is under way."""
        return self._core.layer.timers.next_at()

    def take_transmits(self) -> list[Transmit]:
        """What is to be sent, in order; handed out once."""
        taken, self._core.layer.transmits = self._core.layer.transmits, []
        return taken

    def take_look_ups(self) -> list[LookUp]:
        """Questions to the resolver, handed out once; each is to be answered by `handle_look_up`."""
        taken, self._core.layer.hops.look_ups = self._core.layer.hops.look_ups, []
        return taken

    def take_events(self) -> list[SipEvent]:
        """What has happened, in order; handed out once."""
        taken, self._core.events = self._core.events, []
        return [*self._core.layer.faults.take(), *taken]

    def take_closes(self) -> list[Flow]:
        """Connections that the driver should close once its transmits are out; handed out once."""
        taken, self._closes = self._closes, []
        return taken

    def set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        """Take the sockets as they are now bound; messages made from here on carry their addresses."""
        self._core.layer.set_listeners(listeners)

    def refresh_registrations(self, now: float) -> None:
        """Our address has changed: registrars hear of it now."""
        for registration in list(self._core.registrations.values()):
            registration.refresh(now)

    def address_seen_by(self, peer: str) -> str | None:
        """The address at which the peer of that address sees us, where it is known and not simply our own."""
        return self._core.layer.listeners.seen_by(peer)

    def is_own_socket(self, target: Target) -> bool:
        """Whether `target`, an address with its `local` one, is one of our own listening sockets."""
        return self._core.layer.listeners.is_own(target)

    def set_accepting(self, accepting: bool, retry_after_s: int = 30) -> None:
        """False: new INVITEs and OPTIONS get 503 with Retry-After; calls under way go on."""
        self._core.is_accepting = accepting
        self._core.retry_after_s = retry_after_s

    # -- operations ---------------------------------------------------------------------------------------------------------------------

    def invite(self, spec: OutboundInvite, now: float) -> CallHandle:
        """Place a call. CallProgress, CallAnswered and CallEnded follow."""
        call = OutboundCall(self._core, spec)
        call.start(now)
        return call.handle

    # What settles something gives False, and does nothing, where nothing is left to settle: the call has ended, or the request has had its
    # final response. LocalProtocolError is for what could be sent in no state: a code out of range, a header that breaks the message.

    def ring(self, call: CallHandle, now: float, *, sdp: bytes | None = None, headers: HeaderList = ()) -> bool:
        """Send 180, or 183 when there is early media to describe; False unless an incoming call waits for its answer."""
        known = self._core.calls.get(call)
        return known is not None and known.ring(now, sdp, headers)

    def answer(self, call: CallHandle, sdp: bytes, now: float, *, headers: HeaderList = ()) -> bool:
        """Send the 200 and repeat it until the ACK; CallConfirmed follows, or CallEnded(`no_ack`). False as for `ring`."""
        known = self._core.calls.get(call)
        return known is not None and known.answer(sdp, now, headers)

    def reject(self, call: CallHandle, code: int, reason: str, now: float, *, headers: HeaderList = ()) -> bool:
        """Refuse an incoming call with a final response of 300 or above. False as for `ring`."""
        reason = checked_reason(reason)
        known = self._core.calls.get(call)
        return known is not None and known.reject(code, reason, now, headers)

    def hang_up(self, call: CallHandle, now: float, *, headers: HeaderList = ()) -> bool:
        """End the call as its state asks: CANCEL, 603, or BYE. `headers` go into that message. False for a call that has ended."""
        Headers(headers)  # may be sent later only, when nobody could be told that they are malformed
        known = self._core.calls.get(call)
        if known is None:
            return False
        try:
            known.hang_up(now, headers)
        except Exception as error:  # noqa: BLE001 (hanging up ends the call, whatever cannot be sent)
            self._core.abort_call("hang_up", error, known, now)
        return True

    def offer(self, call: CallHandle, sdp: bytes | None, now: float, *, headers: HeaderList = ()) -> bool:
        """Send a re-INVITE, without a description to ask for the peer's offer; OfferAnswered follows.

        False while another offer is open, and for a call that is not answered or has ended.
        """
        known = self._core.calls.get(call)
        return known is not None and known.offer(sdp, now, headers)

    def answer_offer(self, call: CallHandle, sdp: bytes, now: float) -> bool:
        """Answer OfferReceived; or, where an INVITE of ours had no description and its 2xx had, send the ACK with ours.

        False when no offer is open.
        """
        known = self._core.calls.get(call)
        return known is not None and known.answer_offer(sdp, now)

    def refuse_offer(self, call: CallHandle, code: int, reason: str, now: float) -> bool:
        """Refuse OfferReceived; the session stays as it was. False when no offer is open."""
        reason = checked_reason(reason)
        known = self._core.calls.get(call)
        return known is not None and known.refuse_offer(code, reason, now)

    def request(
        self, call: CallHandle, method: str, now: float, *, headers: HeaderList = (), body: bytes = b"", content_type: str = ""
    ) -> TransactionToken:
        """Send INFO, MESSAGE, NOTIFY, UPDATE … inside the call; RequestCompleted follows.

        Raises LocalProtocolError when the call is not answered or has ended.
        """
        return self._call(call).request(method, now, headers, body, content_type)

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
        """Answer RequestReceived or TransferRequested; False when it was answered, or its call has ended.

        Neither 408 nor a provisional response but 100 may be sent (RFC 4320 §4).
        """
        if not 100 <= code <= 699:
            raise LocalProtocolError(f"{code} is no status code")
        if 100 < code < 200 or code == 408:
            raise LocalProtocolError(f"a {code} is of no use to who sends anything but an INVITE")
        reason = checked_reason(reason)
        pending = self._core.pending_requests.get(token)
        if pending is None:
            return False
        contact = pending.call.contact_user if pending.transaction.request.method in ("REFER", "NOTIFY") and code < 300 else None
        request = pending.transaction.request
        headers = (*headers, *pending.call.reply_headers(request, code))
        self._core.reply(pending.transaction, Reply(code, reason, headers, body, content_type, contact), now)
        if code >= 200:
            del self._core.pending_requests[token]
            pending.call.settle(token, request, code, now)
        return True

    def refer(
        self, call: CallHandle, refer_to: str, now: float, *, referred_by: str | None = None, headers: HeaderList = ()
    ) -> TransactionToken:
        """Ask the peer to call `refer_to`; RequestCompleted follows, and after a 2xx TransferProgress until one is `final`.

        `refer_to` and `referred_by` are URIs or whole name-addr values; for an attended transfer `refer_to` has an escaped `?Replaces=…`.
        """
        return self._call(call).refer(refer_to, referred_by, now, headers)

    def notify_transfer(self, call: CallHandle, code: int, reason: str, now: float, *, final: bool) -> bool:
        """After TransferRequested was answered with 2xx: tell the peer what the target says; `final` ends the telling.

        False when nobody waits for that: the end was told, the peer has unsubscribed, or the call has ended.
        """
        known = self._core.calls.get(call)
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
        body: bytes = b"",
        content_type: str = "",
        credentials: tuple[Credentials, ...] = (),
        proxy: str | None = None,
        call_id: str | None = None,
        from_tag: str | None = None,
        cseq: int = 1,
        transport: TransportName | None = None,
        local_host: str | None = None,
    ) -> TransactionToken:
        """Send OPTIONS, REGISTER … outside any dialog; RequestCompleted follows, its `call` None.

        `from_uri` defaults to `target_uri`, `to_uri` to `target_uri`. `cseq` is the first attempt's number; each attempt with credentials
        takes the next one. A Contact of ours is added unless `headers` has one.
        """
        if method in ("INVITE", "ACK", "CANCEL", "BYE") or not is_token(method):
            raise LocalProtocolError(f"{method} is not sent outside a call")
        core = self._core
        token = core.new_token()
        own_call_id = call_id or core.randomness.uuid()
        from_value = format_name_addr(from_uri or target_uri, parameters={"tag": from_tag or core.new_tag()})
        user = None if any(name.lower() in ("contact", "m") for name, _ in headers) else _user_of(from_uri or "")
        numbers = iter(range(cseq, 1 << 31))

        def make() -> Attempt:
            request, target = outside(
                core,
                method,
                target_uri,
                from_value=from_value,
                to_uri=to_uri or target_uri,
                call_id=own_call_id,
                cseq=next(numbers),
                proxy=proxy,
                transport=transport,
            )
            add_body(request, headers, body, content_type)
            return request, target, Origin(user, None, local_host)

        OutgoingRequest(core, make, credentials, partial(self._on_outside_outcome, token)).send(now)
        return token

    def register(self, spec: RegistrationSpec, now: float) -> RegistrationHandle:
        """Bind our contact to an address of record and keep it bound; RegistrationChanged follows, now and whenever that changes."""
        registration = Registration(self._core, spec)
        registration.start(now)
        return registration.handle

    def unregister(self, registration: RegistrationHandle, now: float) -> None:
        """Take the binding back; RegistrationChanged(`unregistered`) is the last of it. Does nothing for one that is gone."""
        known = self._core.registrations.get(registration)
        if known is not None:
            known.close(now)

    def dialog_info(self, call: CallHandle) -> DialogInfo:
        """The call's dialog as it stands."""
        return self._call(call).dialog_info()

    def peer_address(self, call: CallHandle) -> str:
        """The address that the peer of a call is seen at; empty before it has said anything."""
        known = self._core.calls.get(call)
        return known.dialog.flow.remote.host if known is not None and known.dialog is not None else ""

    def is_alive(self, call: CallHandle) -> bool:
        """Whether the call has not ended; of one that has, CallEnded is among the events."""
        return call in self._core.calls

    @property
    def n_calls(self) -> int:
        """Calls that have not ended."""
        return len(self._core.calls)

    @property
    def n_calls_by_trunk(self) -> Mapping[str, int]:
        """The same by trunk; calls of no trunk under the empty name."""
        return self._core.n_calls_by_trunk

    @property
    def door(self) -> RequestAdmission:
        """Who is let in."""
        return self._core.door

    def registrars(self, now: float) -> list[str]:
        """Addresses of the registrars that we are registered at."""
        return self._core.registrars(now)

    @property
    def n_transactions(self) -> int:
        """Transactions that are not terminated."""
        return self._core.layer.n_transactions

    @property
    def n_dialogs(self) -> int:
        """Dialogs, early ones and those that wait for the outcome of a BYE included."""
        return len(self._core.dialogs)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def _pass_over(self, flow: Flow) -> None:
        """Something of a silenced address: counted, not read."""
        self._core.emit(RequestRefused(flow, "", "silenced", 0))

    def _answer_pings(self, n_pings: int, flow: Flow, now: float) -> None:
        """One pong for all pings of a read; a connection that does nothing else, and that fast, is closed."""
        began_at, n_before = self._pings.get(flow.connection_id or 0, (now, 0))
        if now - began_at > PING_WINDOW_S:
            began_at, n_before = now, 0
        self._pings[flow.connection_id or 0] = (began_at, n_before + n_pings)
        if n_before + n_pings > MAX_PINGS:
            self._core.drop(flow, "keepalive_flood", f"{n_before + n_pings} within {PING_WINDOW_S:g} s")
            self._closes.append(flow)
            return
        self._core.layer.transmit(PONG_BYTES, flow)

    def _receive(self, data: bytes, flow: Flow, now: float, *, is_known: bool) -> None:
        """One message, behind a wall of its own: an error of ours ends the call that it belongs to, and nothing else."""
        if too_large := self._reader.is_too_large(data, is_known=is_known):
            self._core.drop(flow, "too_large", too_large)
            return
        if flow.connection_id is not None:
            self._heard_at[flow.connection_id] = now
        try:
            self._dispatcher.receive(data, flow, now)
        except Exception as error:  # noqa: BLE001 (a wall: one message)
            self._dispatcher.handle_fault(data, flow, error, now)

    def _call(self, handle: CallHandle) -> Call:
        call = self._core.calls.get(handle)
        if call is None:
            raise LocalProtocolError("the call has ended, or there never was one of this handle")
        return call

    def _on_outside_outcome(
        self, token: TransactionToken, code: int, reason: str, response: Response | None, flow: Flow | None, now: float
    ) -> None:
        del flow, now
        self._core.emit(RequestCompleted(token, code, reason, response))


def _framer_for(standing: Standing) -> StreamFramer:
    if standing == "known":
        return StreamFramer()
    return StreamFramer(max_header_bytes=MAX_STRANGER_HEADER_BYTES, max_body_bytes=MAX_STRANGER_BODY_BYTES)


def _user_of(uri: str) -> str:
    try:
        return uri_of(uri).user or ""
    except ParseError:
        return ""
