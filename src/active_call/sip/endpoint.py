"""The SIP endpoint, a user agent (RFC 3261). Bytes and time go in; transmits, events and timers come out.

The driver calls `receive_*` and `handle_*`, then drains `take_transmits`, `take_look_ups`, `take_events` and `take_closes`, and calls
`handle_timeout` at `next_timeout`. Legs call the operations and read the events. `now` is monotonic seconds and never goes back. The
endpoint knows no sockets, no name resolution, no media and no session descriptions: an SDP is bytes.

    endpoint ── operations ── calls, registrations               what legs ask for; what is active
        ├─ connections                                           streams: message framing, keep-alives
        ├─ dispatch ── access/*                                  finds the recipient of a message; refuses requests without a call
        │      └─ dialog/inbound, dialog/outbound ── dialog/call      the INVITE usage
        │             ├─ dialog/session_timer, reinvite, refer        its parts, by `dialog/ports`
        │             ├─ dialog/invite_server, invite_client          one INVITE with its 2xx and ACK
        │             └─ dialog/requests ── credentials               other requests; digest
        └─ transaction/layer ── failover ── client; server       the tables of `transaction/tables`, by `transaction/ports`
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from active_call.base.world import Randomness
from active_call.sip.access.reading import Reader, Standing
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.connections import MAX_PINGS, PING_WINDOW_S, Connections
from active_call.sip.context import EndpointContext
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.dispatch import Dispatcher
from active_call.sip.events import CallHandle, EndpointConfig, Flow, Listener, LookUp, RequestRefused, SipEvent, Target, Transmit
from active_call.sip.operations import Operations
from active_call.sip.ports import MessageObserver
from active_call.sip.syntax.framing import PING_BYTES, PONG_BYTES, MessageTooLarge
from active_call.sip.transaction.layer import TransactionLayer

__all__ = ["DialogInfo", "Endpoint"]


class Endpoint(Operations):
    """Sans-IO SIP user agent. Inputs never raise. Operations raise only LocalProtocolError."""

    def __init__(self, config: EndpointConfig, randomness: Randomness, admission: RequestAdmission | None = None) -> None:
        super().__init__(EndpointContext(config, randomness, TransactionLayer(config, randomness), admission or RequestAdmission()))
        self._dispatcher = Dispatcher(self._core, self._calls, self._registrations)
        self._reader = Reader(self._core.admission, self._core, self._registrations.registrars)
        self._connections = Connections()
        self._closes: list[Flow] = []
        self.observer: MessageObserver | None = None
        """Receives every message for a trace. An exception in it is reported as a fault and has no other effect."""

    # -- inputs -------------------------------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one UDP datagram or WebSocket message.

        A blank one is a NAT keep-alive; a ping over WebSocket is answered (RFC 5626 §3.5.1).
        """
        if not data.strip(b"\r\n\t \0"):
            if flow.connection_id is not None and data == PING_BYTES:
                self._answer_pings(1, flow, now)
            return
        standing = self._reader.standing(flow, now)
        if standing == "silenced":
            self._note_silenced(flow)
        elif len(data) > self._core.config.max_message_bytes:
            self._core.drop(flow, "too_large", f"{len(data)} bytes")
        else:
            self._receive(data, flow, now, is_known=standing == "known")

    def receive_stream(self, data: bytes, flow: Flow, now: float) -> None:
        """Take bytes of a connection, cut anywhere. `take_closes` returns the flow if the stream cannot be parsed any further."""
        connection_id = flow.connection_id
        if connection_id is None:
            self.receive_datagram(data, flow, now)
            return
        standing = self._reader.standing(flow, now)
        if self._connections.is_broken(connection_id):
            return
        if standing == "silenced":
            self._note_silenced(flow)
            self._closes.append(flow)
            return
        given = self._connections.feed(connection_id, data, now, is_known=standing == "known")
        for message in given.messages:
            self._receive(message, flow, now, is_known=standing == "known")
        if given.n_pings:
            self._answer_pings(given.n_pings, flow, now)
        if given.failure is not None:
            if isinstance(given.failure, MessageTooLarge):
                self._core.drop(flow, "too_large", str(given.failure))
            else:
                self._dispatcher.refuse_unreadable(given.rejected, flow, given.failure, now)
            self._closes.append(flow)

    def half_read_since(self, flow: Flow) -> float | None:
        """When the incomplete message on that connection started; None between messages."""
        return self._connections.half_read_since(flow.connection_id) if flow.connection_id is not None else None

    def standing_of(self, host: str, now: float) -> Standing:
        """The standing of the source at that address. It decides what is parsed and which connections are accepted."""
        return self._reader.standing_of(host, now)

    def idle_since(self, connection_id: int) -> float | None:
        """When the last message arrived on that connection; None if there was none."""
        return self._connections.heard_at(connection_id)

    def connections_in_use(self) -> set[int]:
        """The connections with open calls, registrations or requests."""
        dialogs = {entry.dialog.flow.connection_id for entry in self._core.dialogs.values()}
        return {one for one in dialogs | self._core.layer.connections_in_use() if one is not None}

    def has_lost_connection(self, call: CallHandle) -> bool:
        """Whether the connection of the peer's last message in that call is closed. False over UDP."""
        known = self._calls.get(call)
        connection_id = known.dialog.flow.connection_id if known is not None and known.dialog is not None else None
        return connection_id is not None and not self._connections.is_open(connection_id)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """A stream connection was closed. Open transactions use another flow (RFC 3261 §18.2.2, §18.4)."""
        if flow.connection_id is not None:
            self._connections.forget(flow.connection_id)
        self._core.layer.handle_connection_lost(flow, reason, now)
        for registration in self._registrations:
            self._core.layer.faults.guard("connection_lost", partial(registration.handle_connection_lost, flow, now))

    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None:
        """The transmit with that id failed."""
        self._core.layer.handle_transport_error(transmit_id, reason, now)

    def handle_unreachable(self, transmit_id: int, reason: str, now: float) -> None:
        """An ICMP error came back for the transmit with that id (§18.4). The error may be temporary."""
        self._core.layer.handle_unreachable(transmit_id, reason, now)

    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The resolver's answer to one of `take_look_ups`: the targets in order, or none and a reason."""
        self._core.layer.hops.handle_look_up(look_up_id, hops, reason, now)

    def handle_timeout(self, now: float) -> None:
        """Fire the timers that are due."""
        self._core.layer.timers.run_due(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` must be called next, None if no timer is set."""
        return self._core.layer.timers.next_at()

    @property
    def has_output(self) -> bool:
        """Whether a `take_` method has something. Asked after each input, and most have one answer at most."""
        core, layer = self._core, self._core.layer
        return bool(layer.transmits or core.events or layer.hops.look_ups or self._closes or not layer.faults.is_empty)

    def take_transmits(self) -> list[Transmit]:
        """The messages to send, in order. Each is returned once."""
        taken, self._core.layer.transmits = self._core.layer.transmits, []
        if self.observer is not None:
            for transmit in taken:
                self._core.guard("observer", partial(self.observer.sent, transmit.data, transmit.destination))
        return taken

    def take_look_ups(self) -> list[LookUp]:
        """Look-ups for the resolver. Each is returned once and must be answered by `handle_look_up`."""
        taken, self._core.layer.hops.look_ups = self._core.layer.hops.look_ups, []
        return taken

    def take_events(self) -> list[SipEvent]:
        """The events, in order. Each is returned once."""
        taken, self._core.events = self._core.events, []
        return [*self._core.layer.faults.take(), *taken]

    def take_closes(self) -> list[Flow]:
        """Connections that the driver must close after its transmits. Each is returned once."""
        taken, self._closes = self._closes, []
        return taken

    def set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        """Set the bound sockets. Later messages carry their addresses."""
        self._core.layer.set_listeners(listeners)

    def refresh_registrations(self, now: float) -> None:
        """Our address has changed: register again now."""
        for registration in self._registrations:
            registration.refresh(now)

    def address_seen_by(self, peer: str) -> str | None:
        """The address at which that peer sees us, if known and different from our own."""
        return self._core.layer.listeners.seen_by(peer)

    def is_own_socket(self, target: Target) -> bool:
        """Whether `target`, an address with its `local` one, is one of our listening sockets."""
        return self._core.layer.listeners.is_own(target)

    def set_accepting(self, accepting: bool, retry_after_s: int = 30) -> None:
        """False: new INVITEs and OPTIONS get 503 with Retry-After. Existing calls continue."""
        self._core.is_accepting = accepting
        self._core.retry_after_s = retry_after_s

    # -- counts -------------------------------------------------------------------------------------------------------------------------

    @property
    def n_calls(self) -> int:
        """Number of active calls."""
        return len(self._calls)

    @property
    def n_calls_by_trunk(self) -> Mapping[str, int]:
        """Number of active calls by trunk. Calls without a trunk count under the empty name."""
        return self._calls.n_by_trunk

    @property
    def admission(self) -> RequestAdmission:
        """Decides which requests from outside are accepted."""
        return self._core.admission

    def registrars(self, now: float) -> list[str]:
        """Addresses of the registrars where we are registered."""
        return self._registrations.registrars(now)

    @property
    def n_transactions(self) -> int:
        """Number of transactions that have not terminated."""
        return self._core.layer.n_transactions

    @property
    def n_dialogs(self) -> int:
        """Number of dialogs, including early ones and those whose BYE has no outcome yet."""
        return len(self._core.dialogs)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def _note_silenced(self, flow: Flow) -> None:
        """Count a message from a silenced address. It is not parsed."""
        self._core.emit(RequestRefused(flow, "", "silenced", 0))

    def _answer_pings(self, n_pings: int, flow: Flow, now: float) -> None:
        """Send one pong for all pings of a read. Close a connection that only sends pings at a high rate."""
        n_recent = self._connections.count_pings(flow.connection_id or 0, n_pings, now)
        if n_recent > MAX_PINGS:
            self._core.drop(flow, "keepalive_flood", f"{n_recent} within {PING_WINDOW_S:g} s")
            self._closes.append(flow)
            return
        self._core.layer.transmit(PONG_BYTES, flow)

    def _receive(self, data: bytes, flow: Flow, now: float, *, is_known: bool) -> None:
        """Handle one message. An internal error ends only the call of that message."""
        if too_large := self._reader.is_too_large(data, is_known=is_known):
            self._core.drop(flow, "too_large", too_large)
            return
        if flow.connection_id is not None:
            self._connections.note_message(flow.connection_id, now)
        if self.observer is not None:
            self._core.guard("observer", partial(self.observer.received, data, flow))
        try:
            self._dispatcher.receive(data, flow, now)
        except Exception as error:  # noqa: BLE001 (contains the errors of one message)
            self._dispatcher.handle_fault(data, flow, error, now)
