"""Client transactions: they execute the tables CLIENT_INVITE and CLIENT_REQUEST (RFC 3261 §17.1, RFC 6026 §7.2).

A written request with its branch and destination goes in, then responses, timers and transport errors. Transmits through the port and calls
of the `ClientUser` come out. This module knows no dialogs, no calls and no alternative targets.

A transaction keeps its request, branch and destination for life. Only the connection to the destination may change: the transport layer
opens a new one if the old one is closed (§18.4, RFC 5923 §5). `failover` sends a request to several targets and creates one transaction for
each.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from msgspec.structs import replace

from active_call.sip.events import Address, Flow, Target, TransportName
from active_call.sip.routing import DEFAULT_PORTS, is_address, is_reliable
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.companions import ack_for_failure
from active_call.sip.transaction.ports import TransactionPort
from active_call.sip.transaction.tables import (
    CLIENT_INVITE,
    CLIENT_REQUEST,
    LIFETIME_T1S,
    Action,
    Input,
    State,
    Table,
    response_input,
)
from active_call.sip.transaction.timers import Timer

_TIMER_D_S = 32.0
"""RFC 3261 §17.1.1.2: at least 32 s over unreliable transports."""


class ClientUser(Protocol):
    """The user of a client transaction."""

    def on_response(self, transaction: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        """A response that the state machine passes up: each provisional one, the final one, each repeated 2xx to an INVITE."""

    def on_no_response(self, transaction: ClientTransaction, code: int, reason: str, now: float) -> None:
        """No final response will arrive: 408 after timer B or F, 503 if the request could not be sent (§8.1.3.1)."""

    def on_transport_error(self, transaction: ClientTransaction, reason: str, now: float) -> bool:
        """The destination cannot be reached. Return True if the user continues with another transaction; then no error is reported."""


class NoUser:
    """A user that ignores the outcome. For a CANCEL: the final response to the INVITE decides."""

    def on_response(self, transaction: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        """Ignore the response."""

    def on_no_response(self, transaction: ClientTransaction, code: int, reason: str, now: float) -> None:
        """Ignore the outcome."""

    def on_transport_error(self, transaction: ClientTransaction, reason: str, now: float) -> bool:
        """There is no other transaction to try."""
        return False


class ClientTransaction:
    """One request to one destination; see the tables. `start` sends it.

    `current_target` is the destination with the connection that currently carries the request. `repeats` False: the request is sent once,
    without timers A and E. `is_patient`: an ICMP error does not count as a transport error.
    """

    table: ClassVar[Table]
    first_state: ClassVar[State]
    repeat_input: ClassVar[Input]
    give_up_input: ClassVar[Input]

    __slots__ = (
        "_deadline",
        "_is_left",
        "_last",
        "_linger_input",
        "_port",
        "_repeat_after_s",
        "_repeat_timer",
        "_repeats",
        "_transmit_id",
        "_user",
        "branch",
        "current_target",
        "destination",
        "has_reconnected",
        "is_patient",
        "key",
        "request",
        "state",
    )

    def __init__(
        self,
        port: TransactionPort,
        request: Request,
        data: bytes,
        branch: str,
        destination: Target,
        user: ClientUser,
        *,
        repeats: bool = True,
        is_patient: bool = True,
    ) -> None:
        self._port = port
        self._user = user
        self._repeats = repeats
        self.is_patient = is_patient
        self.request = request
        self.branch = branch
        self.key = (branch, request.method)
        """The key that a response is matched by (§17.1.3)."""
        self.destination = destination
        self.current_target = destination
        self.state = self.first_state
        self.has_reconnected = False
        """Whether the connection was replaced by a new one. That happens at most once."""
        self._is_left = False
        self._last = data
        self._transmit_id = 0
        self._repeat_after_s = 0.0
        self._repeat_timer: Timer | None = None
        self._deadline: Timer | None = None
        self._linger_input = self.give_up_input

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.request.call_id, self.request.from_.tag or ""

    @property
    def transport(self) -> TransportName:
        """The transport of the destination."""
        return self.destination.transport

    @property
    def is_waiting(self) -> bool:
        """Whether a final response may still arrive."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    @property
    def is_unanswered(self) -> bool:
        """Whether no response has arrived."""
        return self.state is self.first_state

    def start(self, now: float) -> None:
        """Send the request and start the timers."""
        t1_s = self._port.config.t1_s
        if self._repeats and not is_reliable(self.transport):
            self._repeat_after_s = t1_s
            self._repeat_timer = self._port.timers.start(now + t1_s, self._on_repeat_timer, self)
        self._deadline = self._port.timers.start(now + LIFETIME_T1S * t1_s, self._on_give_up_timer, self)
        self._transmit()

    def leave(self, now: float) -> None:
        """The request was sent to another target: stop sending, and accept late responses of this one for 64*T1."""
        self._is_left = True
        self._stop_timers()
        self._deadline = self._port.timers.start(now + LIFETIME_T1S * self._port.config.t1_s, self._on_left_for_long, self)

    def receive(self, response: Response, flow: Flow, now: float) -> bool:
        """Take a matching response. False if the state ignores it."""
        if flow.connection_id is not None and self.current_target.flow != flow and self.is_waiting and flow.transport == self.transport:
            self.current_target = replace(self.destination, flow=flow)
        return self.handle(response_input(response.code), now, response, flow)

    def handle(self, event: Input, now: float, response: Response | None = None, flow: Flow | None = None, reason: str = "") -> bool:
        """Feed one input. False if the table has no entry for it."""
        step = self.table.get((self.state, event))
        if step is None:
            return False
        before = self.state
        self.state, actions = step
        if self.state is not before and before is State.CALLING:
            self._stop_timers()  # A and B; what follows sets its own
        if self.state is State.TERMINATED:
            self.terminate()
        for action in actions:
            self._perform(action, now, response, flow, reason)
        return True

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The last transmit failed: try a new connection once, then report the error."""
        if self._is_left and self.is_waiting:
            return
        if self.current_target.flow is not None and not self.has_reconnected and is_address(self.destination.host):
            self._reconnect()
        else:
            self._report_error(reason, now)

    def handle_unreachable(self, reason: str, now: float) -> None:
        """An ICMP error came back for the last transmit.

        Inside a dialog the transaction keeps waiting, because a restarting peer returns soon.
        """
        if not self.is_patient and self.is_unanswered:
            self.handle_transport_error(reason, now)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """`flow` was closed.

        An unanswered request is sent again over a new connection with the same branch, so the peer may see a repetition.
        """
        if self.current_target.flow is None:
            if self.is_unanswered and not self._is_left and self._went_by(flow):
                self._repeat_once(reason, now)
        elif self.current_target.flow.connection_id == flow.connection_id:
            if self.is_unanswered:
                self.handle_transport_error(reason, now)
            elif is_address(self.destination.host):
                self.current_target = replace(self.destination, flow=None)

    def terminate(self) -> None:
        """Stop and remove the transaction. The user gets no further calls."""
        self.state = State.TERMINATED
        self._stop_timers()
        self._port.end(self, self._transmit_id)

    # -- the connection ---------------------------------------------------------------------------------------------------------------

    def _reconnect(self) -> None:
        """Send the same bytes to the same destination over a new connection."""
        self.has_reconnected = True
        self.current_target = replace(self.destination, flow=None)
        self._transmit()

    def _repeat_once(self, reason: str, now: float) -> None:
        """The connection that carried the request was closed without a response."""
        if self.has_reconnected:
            self._report_error(reason, now)
        else:
            self._reconnect()

    def _report_error(self, reason: str, now: float) -> None:
        if not self._user.on_transport_error(self, reason, now):
            self.handle(Input.TRANSPORT_ERROR, now, reason=reason)

    def _went_by(self, flow: Flow) -> bool:
        destination = self.destination
        place = Address(destination.host, destination.port or DEFAULT_PORTS[destination.transport])
        return is_reliable(flow.transport) and (flow.transport, flow.remote) == (destination.transport, place)

    # -- actions ----------------------------------------------------------------------------------------------------------------------

    def _perform(self, action: Action, now: float, response: Response | None, flow: Flow | None, reason: str) -> None:
        match action:
            case Action.PASS_UP:
                if response is not None and flow is not None:
                    self._user.on_response(self, response, flow, now)
            case Action.REPEAT_REQUEST:
                self._repeat(now)
            case Action.SEND_ACK:
                if response is not None:
                    self._last = ack_for_failure(self.request, response).to_bytes()
                    self._transmit()
            case Action.REPORT_TIMEOUT:
                self._user.on_no_response(self, 408, "Request Timeout", now)
            case Action.REPORT_TRANSPORT:
                self._user.on_no_response(self, 503, reason or "Transport Error", now)
            case Action.LINGER_D:
                self._linger(Input.TIMER_D, 0.0 if is_reliable(self.transport) else _TIMER_D_S, now)
            case Action.LINGER_K:
                self._linger(Input.TIMER_K, 0.0 if is_reliable(self.transport) else self._port.config.t4_s, now)
            case Action.LINGER_M:
                self._linger(Input.TIMER_M, LIFETIME_T1S * self._port.config.t1_s, now)
            case _:
                raise AssertionError(f"{action} is no action of a client transaction")

    def _repeat(self, now: float) -> None:
        config = self._port.config
        self._transmit()
        if is_reliable(self.transport):
            return
        self._port.timers.cancel(self._repeat_timer)
        if self.repeat_input is Input.TIMER_A:
            self._repeat_after_s *= 2
        elif self.state is State.PROCEEDING:
            self._repeat_after_s = config.t2_s
        else:
            self._repeat_after_s = min(2 * self._repeat_after_s, config.t2_s)
        self._repeat_timer = self._port.timers.start(now + self._repeat_after_s, self._on_repeat_timer, self)

    def _linger(self, event: Input, duration_s: float, now: float) -> None:
        self._stop_timers()
        if duration_s <= 0:
            self.handle(event, now)
            return
        self._linger_input = event
        self._deadline = self._port.timers.start(now + duration_s, self._on_linger_timer, self)

    def _on_linger_timer(self, now: float) -> None:
        self.handle(self._linger_input, now)

    def _on_repeat_timer(self, now: float) -> None:
        self.handle(self.repeat_input, now)

    def _on_give_up_timer(self, now: float) -> None:
        self.handle(self.give_up_input, now)

    def _on_left_for_long(self, now: float) -> None:
        del now
        if self.is_waiting:
            self.terminate()

    def _stop_timers(self) -> None:
        self._port.timers.cancel(self._repeat_timer)
        self._port.timers.cancel(self._deadline)

    def _transmit(self) -> None:
        self._transmit_id = self._port.transmit(self._last, self.current_target, self, self._transmit_id)


class ClientInviteTransaction(ClientTransaction):
    """RFC 3261 §17.1.1 with RFC 6026 §7.2."""

    table = CLIENT_INVITE
    first_state = State.CALLING
    repeat_input = Input.TIMER_A
    give_up_input = Input.TIMER_B
    __slots__ = ()


class ClientRequestTransaction(ClientTransaction):
    """RFC 3261 §17.1.2."""

    table = CLIENT_REQUEST
    first_state = State.TRYING
    repeat_input = Input.TIMER_E
    give_up_input = Input.TIMER_F
    __slots__ = ()
