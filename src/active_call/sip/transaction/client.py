"""Client transactions: what carries out the tables CLIENT_INVITE and CLIENT_REQUEST (RFC 3261 §17.1, RFC 6026 §7.2).

Enters: a finished request and a next hop, then responses, alarms and transport errors. Leaves: transmits through the layer, and calls
of the `ClientUser`. Knows no dialogs and no calls.

One object carries its request to as many places as it takes (RFC 3263 §4.3): silence, a transport error or a 503 moves it on, each time
as a new transaction, which is the same request under a new branch. A place that has an INVITE of ours and may still answer it is left
behind under its old branch (`left_invite`). Inside a dialog only a transport error moves a request on. Before that counts as one, UDP is
tried for a request that went over TCP only for its size (§18.1.1), and a fresh connection for one whose connection is gone (RFC 5923 §5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from active_call.sip.events import Address, Flow, Target, TransportName
from active_call.sip.routing import DEFAULT_PORTS, after_response, is_address, is_reliable
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.failover import NextHops
from active_call.sip.transaction.tables import CLIENT_INVITE, CLIENT_REQUEST, Action, Input, State, Table, response_input
from active_call.sip.transaction.timers import Timer

if TYPE_CHECKING:
    from active_call.sip.transaction.layer import TransactionLayer

LIFETIME_T1S = 64
"""Timers B, F, H, L and M in units of T1."""
_TIMER_D_S = 32.0
"""RFC 3261 §17.1.1.2: at least 32 s over unreliable transports."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What we call ourselves in a request: the Contact's user part (None: no Contact) and which listener speaks."""

    contact_user: str | None = None
    local: Address | None = None
    local_host: str | None = None
    is_heard: bool = True
    """The peer has shown that our messages reach it. To one that has not, a request goes once: its address may be somebody else's."""


class ClientUser(Protocol):
    """Who wants to hear of a client transaction."""

    def on_response(self, transaction: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        """A response that the machine lets through: each provisional, the final one, each repeated 2xx to an INVITE."""

    def on_no_response(self, transaction: ClientTransaction, code: int, reason: str, now: float) -> None:
        """No final response will come: 408 after timer B or F, 503 when the request could not be sent (§8.1.3.1)."""


class ClientTransaction:
    """One request on its way; see the tables."""

    table: ClassVar[Table]
    first_state: ClassVar[State]
    repeat_input: ClassVar[Input]
    give_up_input: ClassVar[Input]

    __slots__ = (
        "_deadline",
        "_fallback",
        "_hop_timer",
        "_hops",
        "_last",
        "_layer",
        "_linger_input",
        "_may_search",
        "_repeat_after_s",
        "_repeat_timer",
        "_retried",
        "_transmit_id",
        "_user",
        "branch",
        "destination",
        "origin",
        "request",
        "state",
        "transport",
    )

    def __init__(self, layer: TransactionLayer, request: Request, branch: str, origin: Origin, user: ClientUser) -> None:
        self._layer = layer
        self._user = user
        self.request = request
        self.branch = branch
        self.origin = origin
        self.state = self.first_state
        self.transport: TransportName = "udp"
        self.destination: Flow | Target = Target("udp", "")
        self._hops: NextHops | None = None
        self._may_search = False
        self._fallback: Target | None = None
        self._last = b""
        self._transmit_id = 0
        self._retried = False
        self._repeat_after_s = 0.0
        self._repeat_timer: Timer | None = None
        self._deadline: Timer | None = None
        self._hop_timer: Timer | None = None
        self._linger_input = self.give_up_input

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.request.call_id, self.request.from_.tag or ""

    @property
    def key(self) -> tuple[str, str]:
        """What a response is matched by (§17.1.3)."""
        return self.branch, self.request.method

    @property
    def is_waiting(self) -> bool:
        """Whether a final response may still come."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    def find_way(self, target: Target, now: float) -> None:
        """Send the request to `target`, or to what the resolver finds for it. Raises LocalProtocolError when it cannot be written."""
        self._may_search = not self.request.to.tag
        self._hops = NextHops(self._layer, target, self.request.call_id, self)
        self._hops.start(now)

    def use_hop(self, hop: Target, now: float) -> None:
        """The place to go to now."""
        data, destination, fallback = self._layer.place(self.request, hop, self.branch, self.origin, now)
        self.start(data, destination, fallback, now)

    def on_no_hop(self, reason: str, now: float) -> None:
        """The name leads nowhere."""
        self.handle(Input.TRANSPORT_ERROR, now, reason=reason)

    def stay(self, now: float) -> None:
        """The request is to be withdrawn: no further place shall hear of it."""
        self._may_search = False
        self._layer.timers.cancel(self._hop_timer)
        if self._hops is not None and self._hops.is_looking_up:
            self._layer.timers.start(now, self._on_withdrawn, self)
        if self._hops is not None:
            self._hops.close()

    def _on_withdrawn(self, now: float) -> None:
        self.handle(Input.TRANSPORT_ERROR, now, reason="withdrawn before it was sent")

    def start(self, data: bytes, destination: Flow | Target, fallback: Target | None, now: float) -> None:
        """Send `data` to `destination` and wait; `fallback` is where to go over UDP if that fails."""
        self.state = self.first_state
        self.transport = destination.transport
        self.destination = destination
        self._fallback = fallback
        self._last = data
        self._stop_timers()
        t1_s = self._layer.config.t1_s
        if not is_reliable(self.transport) and self.origin.is_heard:
            self._repeat_after_s = t1_s
            self._repeat_timer = self._layer.timers.start(now + t1_s, self._on_repeat_timer, self)
        self._deadline = self._layer.timers.start(now + LIFETIME_T1S * t1_s, self._on_give_up_timer, self)
        if self._may_move or fallback is not None:
            self._hop_timer = self._layer.timers.start(now + self._layer.config.next_hop_after_s, self._on_hop_timer, self)
        self._transmit()

    def wait_only(self, state: State, destination: Flow | Target) -> None:
        """Send nothing; take what comes in answer to a request that another transaction sent to `destination`."""
        self.state = state
        self.transport = destination.transport
        self.destination = destination

    def receive(self, response: Response, flow: Flow, now: float) -> bool:
        """Take a response that matches; False when the state does not want it."""
        if self.is_waiting:
            self.destination = after_response(self.destination, flow)
            if self._hops is not None:
                self._layer.hops.note_response(self.request.call_id, self._hops.current, response, now)
            if response.code == 503 and self._may_move:
                self._move_on(now, response, flow)
                return True
        return self.handle(response_input(response.code), now, response, flow)

    def handle(self, event: Input, now: float, response: Response | None = None, flow: Flow | None = None, reason: str = "") -> bool:
        """Feed one input; False when the table has no entry for it."""
        step = self.table.get((self.state, event))
        if step is None:
            return False
        self.state, actions = step
        if self.state not in (State.CALLING, State.TRYING) and self.repeat_input is Input.TIMER_A:
            self._layer.timers.cancel(self._repeat_timer)
        if self.state is State.PROCEEDING and self.repeat_input is Input.TIMER_A:
            self._layer.timers.cancel(self._deadline)
        if self.state is State.TERMINATED:
            self.terminate()
        for action in actions:
            self._perform(action, now, response, flow, reason)
        return True

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The last transmit failed: try what is left to try, else feed the error to the machine."""
        if self._fallback is not None and self.state is self.first_state:
            self._fall_back(self._fallback, now)
        elif not (self._try_new_connection(now) or self._try_next_place(now)):
            self.handle(Input.TRANSPORT_ERROR, now, reason=reason)

    def _fall_back(self, target: Target, now: float) -> None:
        """TCP, chosen for size, leads nowhere: the same request by UDP, as will the next ones to that place."""
        self._fallback = None
        self._layer.hops.note_no_tcp(target, now)
        self._layer.restart(self, target, now)

    def handle_unreachable(self, reason: str, now: float) -> None:
        """The network has turned the last transmit back. Inside a dialog it waits on: a peer that restarts is back soon."""
        if self._may_search and self.state is self.first_state:
            self.handle_transport_error(reason, now)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """`flow` is gone. An unanswered request is sent again over a new connection: the same branch, so at worst a repetition."""
        destination = self.destination
        if not isinstance(destination, Target):
            return
        if destination.flow is None:
            if self.state is self.first_state and self._went_by(flow, destination):
                self._repeat_or_move(reason, now)
        elif destination.flow.connection_id == flow.connection_id:
            if self.state is self.first_state:
                self.handle_transport_error(reason, now)
            elif is_address(destination.host):
                self.destination = replace(destination, flow=None)

    def terminate(self) -> None:
        """Stop and forget; the user hears nothing more."""
        self.state = State.TERMINATED
        self._stop_timers()
        if self._hops is not None:
            self._hops.close()
        self._layer.forget_client(self, self._transmit_id)

    # -- from place to place ----------------------------------------------------------------------------------------------------------

    @property
    def _may_move(self) -> bool:
        """Whether silence or a 503 sends the request elsewhere."""
        return self._may_search and self._hops is not None and self._hops.has_more

    def take_late_success(self, response: Response, flow: Flow, now: float) -> None:
        """A place that we had given up has accepted: it is the one, and the place that we are asking now is left."""
        if self.is_waiting:
            self._layer.leave_behind(self, now)
            self.terminate()
        self._user.on_response(self, response, flow, now)

    def _on_hop_timer(self, now: float) -> None:
        if self.state is self.first_state and self._fallback is not None:
            self._fall_back(self._fallback, now)
        elif self.state is self.first_state and self._hops is not None:
            self._layer.hops.note_failure(self._hops.current, now)
            self._move_on(now)

    def _move_on(self, now: float, refusal: Response | None = None, flow: Flow | None = None) -> None:
        """The same request as a new transaction at the next place; the old one may still have something to say."""
        if self.request.method == "INVITE":
            left = self._layer.leave_behind(self, now)
            if refusal is not None:
                left.handle(Input.FAILURE, now, refusal, flow)
        self._layer.rebranch(self)
        self._retried = False
        if self._hops is not None:
            self._hops.advance(now)

    def _try_new_connection(self, now: float) -> bool:
        """Once, where a connection was known and is gone: to the same place, by the same branch."""
        destination = self.destination
        if not isinstance(destination, Target) or destination.flow is None or self._retried:
            return False
        self._retried = True
        if is_address(destination.host):
            self.destination = replace(destination, flow=None)
            if self._hops is not None:
                self._hops.pass_own()
            self._transmit()
            return True
        return self.is_waiting and self._hops is not None and self._hops.advance(now)

    def _try_next_place(self, now: float) -> bool:
        if self.state is not self.first_state or self._hops is None or not self._hops.has_more:
            return False
        self._layer.hops.note_failure(self._hops.current, now)
        self._move_on(now)
        return True

    def _repeat_or_move(self, reason: str, now: float) -> None:
        """The connection that carried the request has ended without a word of answer."""
        if self._retried:
            self.handle_transport_error(reason, now)
        else:
            self._retried = True
            self._transmit()

    def _went_by(self, flow: Flow, destination: Target) -> bool:
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
                    self._send_again(ack_for_failure(self.request, response).to_bytes())
            case Action.REPORT_TIMEOUT:
                self._user.on_no_response(self, 408, "Request Timeout", now)
            case Action.REPORT_TRANSPORT:
                self._user.on_no_response(self, 503, reason or "Transport Error", now)
            case Action.LINGER_D:
                self._linger(Input.TIMER_D, 0.0 if is_reliable(self.transport) else _TIMER_D_S, now)
            case Action.LINGER_K:
                self._linger(Input.TIMER_K, 0.0 if is_reliable(self.transport) else self._layer.config.t4_s, now)
            case Action.LINGER_M:
                self._linger(Input.TIMER_M, LIFETIME_T1S * self._layer.config.t1_s, now)
            case _:
                raise AssertionError(f"{action} is no action of a client transaction")

    def _repeat(self, now: float) -> None:
        config = self._layer.config
        self._transmit()
        if is_reliable(self.transport):
            return
        self._layer.timers.cancel(self._repeat_timer)
        if self.repeat_input is Input.TIMER_A:
            self._repeat_after_s *= 2
        elif self.state is State.PROCEEDING:
            self._repeat_after_s = config.t2_s
        else:
            self._repeat_after_s = min(2 * self._repeat_after_s, config.t2_s)
        self._repeat_timer = self._layer.timers.start(now + self._repeat_after_s, self._on_repeat_timer, self)

    def _linger(self, event: Input, duration_s: float, now: float) -> None:
        self._stop_timers()
        if duration_s <= 0:
            self.handle(event, now)
            return
        self._linger_input = event
        self._deadline = self._layer.timers.start(now + duration_s, self._on_linger_timer, self)

    def _on_linger_timer(self, now: float) -> None:
        self.handle(self._linger_input, now)

    def _on_repeat_timer(self, now: float) -> None:
        self.handle(self.repeat_input, now)

    def _on_give_up_timer(self, now: float) -> None:
        self.handle(self.give_up_input, now)

    def _stop_timers(self) -> None:
        self._layer.timers.cancel(self._repeat_timer)
        self._layer.timers.cancel(self._deadline)
        self._layer.timers.cancel(self._hop_timer)

    def _send_again(self, data: bytes) -> None:
        """Send `data` the way the request went, and make it what a lost connection repeats."""
        self._last = data
        self._transmit()

    def _transmit(self) -> None:
        self._transmit_id = self._layer.transmit(self._last, self.destination, self, self._transmit_id)


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


def ack_for_failure(invite: Request, response: Response) -> Request:
    """The ACK to a non-2xx: same R-URI, branch and Route, the response's To (§17.1.1.3)."""
    return _companion(invite, "ACK", response.headers.get("To") or invite.headers.get("To") or "")


def cancel_for(invite: Request) -> Request:
    """The CANCEL of an INVITE: everything as there, one Via, no body (§9.1)."""
    return _companion(invite, "CANCEL", invite.headers.get("To") or "")


def _companion(invite: Request, method: str, to: str) -> Request:
    source = invite.headers
    headers = Headers()
    headers.add("Via", source.get("Via") or "")
    headers.add("Max-Forwards", "70")
    for route in source.get_all("Route"):
        headers.add("Route", route)
    headers.add("From", source.get("From") or "")
    headers.add("To", to)
    headers.add("Call-ID", source.get("Call-ID") or "")
    headers.add("CSeq", f"{(source.get('CSeq') or '1').split()[0]} {method}")
    return Request(method, invite.uri, headers, b"")
