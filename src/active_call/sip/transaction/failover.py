"""One request of a user, with one transaction for each target that it is sent to (RFC 3263 §4.3).

    target 1 ──timeout, transport error, 503──> target 2 ── … ──> the last target: its outcome is the outcome of the request

A request, its next hop, and the responses and errors of its transactions go in. Transactions, CANCELs of abandoned ones and calls of the
`RequestUser` come out. Each target gets a fresh transaction with a new branch. A transaction never changes its branch or destination.

In a dialog only a transport error moves the request to another target. Before an error counts, the same target is tried another way: by UDP
if TCP was chosen for the size (RFC 3261 §18.1.1), or by the addresses of the URI's host if the dialog's connection is closed (RFC 5923 §5).
These attempts keep the branch, so a server that already has the request sees a repetition. Each of them is also a transaction of its own.

A target that may still answer an INVITE keeps its transaction for 64*T1. If it sends a provisional response, it gets a CANCEL. If it sends
a 2xx, the user gets it: the call is answered, and a 2xx without ACK and BYE would keep the callee's call open.
"""

from __future__ import annotations

from typing import Protocol

from active_call.sip.events import Flow, HeaderList, Target, TransportName
from active_call.sip.routing import is_address
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.client import ClientInviteTransaction, ClientRequestTransaction, ClientTransaction
from active_call.sip.transaction.next_hops import NextHops
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.ports import RequestPort
from active_call.sip.transaction.tables import Input, State
from active_call.sip.transaction.timers import Timer


class RequestUser(Protocol):
    """The sender of a request."""

    def on_response(self, request: FailoverRequest, response: Response, flow: Flow, now: float) -> None:
        """A response of the current target: each provisional one, the final one, each 2xx to an INVITE."""

    def on_no_response(self, request: FailoverRequest, code: int, reason: str, now: float) -> None:
        """No target has sent a final response: 408 timeout, 503 the request could not be sent (RFC 3261 §8.1.3.1)."""


class FailoverPort(RequestPort, Protocol):
    """What a request needs from the transaction layer."""

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        """Register `transaction` for its responses and start it."""

    def send_cancel(self, invite: ClientTransaction, headers: HeaderList, now: float) -> None:
        """Send the CANCEL of an INVITE that has had a provisional response (RFC 3261 §9.1)."""


class FailoverRequest:
    """See the module. `transaction` is the current one, None before the first target is known."""

    __slots__ = (
        "_branch",
        "_cancelled",
        "_fallback",
        "_has_final",
        "_hops",
        "_is_closed",
        "_may_search",
        "_origin",
        "_port",
        "_timer",
        "_user",
        "request",
        "transaction",
    )

    def __init__(self, port: FailoverPort, request: Request, target: Target, origin: Origin, user: RequestUser) -> None:
        self._port = port
        self._user = user
        self._origin = origin
        self._branch = port.new_branch()
        self._hops = NextHops(port, target, request.call_id, self)
        self._may_search = not request.to.tag
        self._fallback: Target | None = None
        self._timer: Timer | None = None
        self._cancelled: tuple[ClientTransaction, ...] = ()
        self._has_final = False
        self._is_closed = False
        self.request = request
        """The request as sent last: with Via and Contact for that target."""
        self.transaction: ClientTransaction | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        return self.request.call_id, self.request.from_.tag or ""

    @property
    def transport(self) -> TransportName:
        """The transport of the last attempt."""
        return self.transaction.transport if self.transaction is not None else "udp"

    @property
    def peer_host(self) -> str:
        """The address of the last attempt; empty before that."""
        if self.transaction is None:
            return ""
        target = self.transaction.current_target
        return target.flow.remote.host if target.flow is not None else target.host

    @property
    def is_proceeding(self) -> bool:
        """Whether a provisional response has arrived but no final one."""
        return self.transaction is not None and self.transaction.state is State.PROCEEDING

    def start(self, now: float) -> None:
        """Send the request at once, or when the resolver has answered. Raises LocalProtocolError if it cannot be written."""
        self._hops.start(now)

    def withdraw(self, now: float) -> None:
        """The user does not need the request any more: try no further target. The outcome still follows."""
        self._may_search = False
        self._port.timers.cancel(self._timer)
        if self.transaction is not None:
            self.transaction.is_patient = True
        if self._hops.is_looking_up:
            self._port.timers.start(now, self._on_withdrawn, self)
        self._hops.close()

    def cancel(self, now: float, headers: HeaderList = ()) -> None:
        """Send CANCEL to where the INVITE went (RFC 3261 §9.1). A provisional response must have arrived."""
        if self.transaction is not None:
            self._port.send_cancel(self.transaction, headers, now)

    def terminate(self) -> None:
        """Stop and remove the request. The user gets no further calls except for a late 2xx of an abandoned target."""
        self._close()
        if self.transaction is not None:
            self.transaction.terminate()

    # -- targets ------------------------------------------------------------------------------------------------------------------------

    def use_hop(self, hop: Target, now: float) -> None:
        """Send the request to that target."""
        self._prepare_copy()
        data, destination, fallback = self._port.writer.place(self.request, hop, self._branch, self._origin, now)
        self._begin(data, destination, fallback, now)

    def on_no_hop(self, reason: str, now: float) -> None:
        """The name does not resolve."""
        if self.transaction is not None:
            self.transaction.handle(Input.TRANSPORT_ERROR, now, reason=reason)
        elif not self._is_closed:
            self._close()
            self._user.on_no_response(self, 503, reason, now)

    def _prepare_copy(self) -> None:
        """Copy the request. The transaction of the last target keeps its headers and still builds ACK and CANCEL from them."""
        if self.transaction is not None:
            sent = self.request
            self.request = Request(sent.method, sent.uri, sent.headers.copy(), sent.body)

    def _begin(self, data: bytes, destination: Target, fallback: Target | None, now: float) -> None:
        before = self.transaction
        if before is not None and before.branch == self._branch:
            before.terminate()
        kind = ClientInviteTransaction if self.request.method == "INVITE" else ClientRequestTransaction
        repeats, is_patient = self._origin.is_address_validated, not self._may_search
        self.transaction = kind(self._port, self.request, data, self._branch, destination, self, repeats=repeats, is_patient=is_patient)
        self._fallback = fallback
        self._port.timers.cancel(self._timer)
        if fallback is not None or self._may_move:
            self._timer = self._port.timers.start(now + self._port.config.next_hop_after_s, self._on_hop_timer, self)
        self._port.begin(self.transaction, now)

    @property
    def _may_move(self) -> bool:
        """Whether a timeout or a 503 moves the request to another target."""
        return self._may_search and self._has_more

    @property
    def _has_more(self) -> bool:
        if self.transaction is not None and self.transaction.has_reconnected:
            self._hops.skip_own_address()
        return self._hops.has_more

    def _move_on(self, now: float) -> None:
        """Send the same request to the next target."""
        self._leave(now)
        self._branch = self._port.new_branch()
        self._hops.advance(now)

    def _fall_back(self, target: Target, now: float) -> None:
        """TCP, chosen for the size, has failed: send the request by UDP. Later requests to that target use UDP too."""
        self._port.hops.note_no_tcp(target, now)
        self._prepare_copy()
        self._begin(self._port.writer.write(self.request, target, self._branch, self._origin), target, None, now)

    def _on_hop_timer(self, now: float) -> None:
        if self.transaction is None or not self.transaction.is_unanswered:
            return
        if self._fallback is not None:
            self._fall_back(self._fallback, now)
        elif self._has_more:
            self._port.hops.note_failure(self._hops.current, now)
            self._move_on(now)

    def _on_withdrawn(self, now: float) -> None:
        self.on_no_hop("withdrawn before it was sent", now)

    # -- abandoned targets --------------------------------------------------------------------------------------------------------------

    def _leave(self, now: float) -> None:
        """Abandon the current target. It may still answer an INVITE; any other transaction is terminated."""
        left = self.transaction
        if left is None or not left.is_waiting:
            return
        if self.request.method != "INVITE":
            left.terminate()
            return
        left.leave(now)
        if left.state is State.PROCEEDING:
            self._cancel_left(left, now)

    def _cancel_left(self, left: ClientTransaction, now: float) -> None:
        if left not in self._cancelled:
            self._cancelled = (*self._cancelled, left)
            self._port.send_cancel(left, (), now)
            left.leave(now)

    def _take_late(self, left: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        """Handle a response of an abandoned target. A 2xx makes it the current one, and the target that was current is abandoned."""
        if response.code < 200:
            self._cancel_left(left, now)
        elif response.code < 300:
            if not self._has_final:
                self._leave(now)
                self.transaction, self._has_final = left, True
                self._close()
            self._user.on_response(self, response, flow, now)

    # -- called by the transactions -----------------------------------------------------------------------------------------------------

    def on_response(self, transaction: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        """Handle a response. A 503 moves the request on if there is another target."""
        if transaction is not self.transaction:
            self._take_late(transaction, response, flow, now)
            return
        if not self._has_final:
            self._port.timers.cancel(self._timer)
            self._port.hops.note_response(self.request.call_id, self._hops.current, response, now)
            if response.code == 503 and self._may_move:
                self._move_on(now)
                return
            self._has_final = response.code >= 200
        self._user.on_response(self, response, flow, now)

    def on_no_response(self, transaction: ClientTransaction, code: int, reason: str, now: float) -> None:
        """The transaction has ended without a final response."""
        if transaction is self.transaction:
            self._close()
            self._user.on_no_response(self, code, reason, now)

    def on_transport_error(self, transaction: ClientTransaction, reason: str, now: float) -> bool:
        """The target cannot be reached: try it another way, else the next target."""
        del reason
        if transaction is not self.transaction:
            return False
        if transaction.is_unanswered and self._fallback is not None:
            self._fall_back(self._fallback, now)
            return True
        target = transaction.current_target
        if target.flow is not None and not is_address(target.host) and transaction.is_waiting and self._hops.advance(now):
            return True
        if transaction.is_unanswered and self._has_more:
            self._port.hops.note_failure(self._hops.current, now)
            self._move_on(now)
            return True
        return False

    def _close(self) -> None:
        self._is_closed = True
        self._port.timers.cancel(self._timer)
        self._hops.close()
