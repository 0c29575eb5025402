"""Server transactions: they execute the tables SERVER_INVITE and SERVER_REQUEST (RFC 3261 §17.2, RFC 6026 §7.1).

A request and its repetitions, the ACK, responses to send, timers and transport errors go in. Transmits through the layer come out, and the
ACK to a 2xx goes to the `ServerUser`. Responses use the flow of the request. If that connection is closed, they go to the target of
§18.2.2.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, Final, Protocol

from active_call.sip.events import Flow, Target
from active_call.sip.routing import is_reliable, response_flow, response_target
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.ports import TransactionPort
from active_call.sip.transaction.tables import LIFETIME_T1S, SERVER_INVITE, SERVER_REQUEST, Action, Input, State, Table, sending_input
from active_call.sip.transaction.timers import Timer

MAX_AMPLIFICATION: Final = 10
"""Over UDP the source address may be forged. To a peer that has not shown that it receives our responses, responses are repeated only while
the bytes that we have sent are at most this many times the bytes that it has sent.
"""


class ServerUser(Protocol):
    """Serves an INVITE: gets the peer's CANCEL and an ACK with the INVITE's branch."""

    def on_ack(self, request: Request, now: float) -> None:
        """The ACK to our 2xx."""

    def on_cancel(self, request: Request, now: float) -> None:
        """The peer no longer wants an answer. Called only before a final response."""


class ServerTransaction:
    """One request that we serve; see the tables. `to_tag` goes into every response but 100 unless the request's To has a tag."""

    table: ClassVar[Table]
    first_state: ClassVar[State]
    is_invite: ClassVar[bool]

    __slots__ = (
        "_deadline",
        "_last",
        "_linger_input",
        "_moved",
        "_n_bytes_sent",
        "_n_received",
        "_port",
        "_repeat_after_s",
        "_repeat_timer",
        "_transmit_id",
        "destination",
        "flow",
        "is_address_validated",
        "key",
        "merge_key",
        "request",
        "state",
        "to_tag",
        "user",
        "via_lines",
    )

    def __init__(
        self, port: TransactionPort, request: Request, flow: Flow, key: Hashable, via_lines: tuple[str, ...], merge_key: Hashable | None
    ) -> None:
        self._port = port
        self.request = request
        self.flow = flow
        self.key = key
        self.merge_key = merge_key
        self.via_lines = via_lines
        self.to_tag = ""
        self.state = self.first_state
        self.user: ServerUser | None = None
        self.destination: Flow | Target = response_flow(request.top_via, flow)
        self._last = b""
        self._transmit_id = 0
        self._moved = False
        self._n_received = 1
        self._n_bytes_sent = 0
        self.is_address_validated = is_reliable(flow.transport) or bool(request.to.tag)
        """Whether the peer has shown that our responses reach it: by a connection, or by a request that contains data from a response."""
        self._repeat_after_s = 0.0
        self._repeat_timer: Timer | None = None
        self._deadline: Timer | None = None
        self._linger_input = Input.TIMER_J

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.request.call_id, self.request.to.tag or self.to_tag

    @property
    def is_answered(self) -> bool:
        """Whether a final response has been sent."""
        return self.state not in (State.TRYING, State.PROCEEDING)

    def send(self, code: int, data: bytes, now: float) -> bool:
        """Send a response. False if the state does not allow one of that class, as after a final response."""
        return self._handle(sending_input(code), now, data=data)

    def receive(self, request: Request, now: float) -> bool:
        """Take a repetition of the request, or the ACK. False if the state ignores it."""
        self._n_received += 1
        return self._handle(Input.ACK if request.method == "ACK" else Input.REQUEST, now, request=request)

    def repeat(self) -> None:
        """Send the last response again. The UAS core repeats its 2xx this way."""
        if self._last and self.state is not State.TERMINATED and self._may_repeat:
            self._transmit()

    @property
    def _may_repeat(self) -> bool:
        if self.is_address_validated:
            return True
        n_bytes = self._n_bytes_sent + len(self._last)
        return n_bytes <= MAX_AMPLIFICATION * self._n_received * len(self.request.to_bytes())

    def handle_transport_error(self, reason: str, now: float) -> None:
        """The last transmit failed: try once more as §18.2.2 says. The state does not change (RFC 6026 §7.1)."""
        del reason, now
        if self._can_move:
            self._move()
            self._transmit()

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """The connection was closed: later responses need another flow."""
        del reason, now
        if self._can_move and self.flow.connection_id == flow.connection_id:
            self._move()

    def terminate(self) -> None:
        """Stop and remove the transaction."""
        self.state = State.TERMINATED
        self._port.timers.cancel(self._repeat_timer)
        self._port.timers.cancel(self._deadline)
        self._port.end(self, self._transmit_id)

    # -- the state machine ------------------------------------------------------------------------------------------------------------

    def _handle(self, event: Input, now: float, data: bytes = b"", request: Request | None = None) -> bool:
        step = self.table.get((self.state, event))
        if step is None:
            return False
        self.state, actions = step
        if self.state is State.TERMINATED:
            self.terminate()
        for action in actions:
            self._perform(action, now, data, request)
        return True

    def _perform(self, action: Action, now: float, data: bytes, request: Request | None) -> None:
        t1_s = self._port.config.t1_s
        match action:
            case Action.SEND:
                self._last = data
                self._transmit()
            case Action.REPEAT_RESPONSE:
                if self._last and self._may_repeat:
                    self._transmit()
            case Action.PASS_ACK:
                if self.user is not None and request is not None:
                    self.user.on_ack(request, now)
            case Action.START_G:
                self._start_g(now)
            case Action.START_H:
                self._start(Input.TIMER_H, LIFETIME_T1S * t1_s, now)
            case Action.STOP_G_H:
                self._port.timers.cancel(self._repeat_timer)
                self._port.timers.cancel(self._deadline)
            case Action.LINGER_I:
                self._linger(Input.TIMER_I, self._port.config.t4_s, now)
            case Action.LINGER_J:
                self._linger(Input.TIMER_J, LIFETIME_T1S * t1_s, now)
            case Action.LINGER_L:
                self._start(Input.TIMER_L, LIFETIME_T1S * t1_s, now)
            case _:
                raise AssertionError(f"{action} is no action of a server transaction")

    def _start_g(self, now: float) -> None:
        if is_reliable(self.flow.transport):
            return
        config = self._port.config
        self._repeat_after_s = min(2 * self._repeat_after_s, config.t2_s) or config.t1_s
        self._repeat_timer = self._port.timers.start(now + self._repeat_after_s, self._on_timer_g, self)

    def _linger(self, event: Input, unreliable_s: float, now: float) -> None:
        if is_reliable(self.flow.transport):
            self._handle(event, now)
        else:
            self._start(event, unreliable_s, now)

    def _start(self, event: Input, duration_s: float, now: float) -> None:
        self._port.timers.cancel(self._deadline)
        self._linger_input = event
        self._deadline = self._port.timers.start(now + duration_s, self._on_deadline, self)

    def _on_timer_g(self, now: float) -> None:
        self._handle(Input.TIMER_G, now)

    def _on_deadline(self, now: float) -> None:
        self._handle(self._linger_input, now)

    @property
    def _can_move(self) -> bool:
        """Whether there is another path than the connection. A browser accepts no connections (RFC 7118 §5)."""
        return not self._moved and self.flow.connection_id is not None and self.flow.transport not in ("ws", "wss")

    def _move(self) -> None:
        self._moved = True
        self.destination = response_target(self.request.top_via, self.flow)

    def _transmit(self) -> None:
        self._n_bytes_sent += len(self._last)
        self._transmit_id = self._port.transmit(self._last, self.destination, self, self._transmit_id)


class ServerInviteTransaction(ServerTransaction):
    """RFC 3261 §17.2.1 with RFC 6026 §7.1."""

    table = SERVER_INVITE
    first_state = State.PROCEEDING
    is_invite = True
    __slots__ = ()


class ServerRequestTransaction(ServerTransaction):
    """RFC 3261 §17.2.2."""

    table = SERVER_REQUEST
    first_state = State.TRYING
    is_invite = False
    __slots__ = ()
