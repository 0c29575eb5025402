"""What all parts of one endpoint share: configuration, transaction layer, dialog table, events, responses.

It makes no decisions. The endpoint, its operations and the dispatch hold it. All other parts see it through one of the narrow `ports`. It
knows neither calls nor registrations: those have their own tables (`calls`, `registrations`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from active_call.base.world import Randomness
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.dialog.dialog import Dialog, DialogKey
from active_call.sip.events import (
    EndpointConfig,
    Flow,
    MessageDropped,
    PublicAddressSeen,
    RequestRefused,
    SipEvent,
    Target,
    TransactionToken,
    TransportName,
)
from active_call.sip.listeners import Listeners
from active_call.sip.ports import DialogEntry, DialogUser
from active_call.sip.responses import Reply, response_bytes
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.ack import Ack
from active_call.sip.transaction.failover import FailoverRequest, RequestUser
from active_call.sip.transaction.layer import TransactionLayer
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timers


@dataclass(slots=True)
class EndpointContext:
    """See the module."""

    config: EndpointConfig
    randomness: Randomness
    layer: TransactionLayer
    admission: RequestAdmission = field(default_factory=RequestAdmission)
    events: list[SipEvent] = field(default_factory=list)
    dialogs: dict[DialogKey, DialogEntry] = field(default_factory=dict)
    is_accepting: bool = True
    retry_after_s: int = 30

    # -- ports --------------------------------------------------------------------------------------------------------------------------

    @property
    def timers(self) -> Timers:
        """The timers of all parts."""
        return self.layer.timers

    @property
    def listeners(self) -> Listeners:
        """The addresses where we can be reached, and how each peer sees us."""
        return self.layer.listeners

    def default_transport(self) -> TransportName:
        """The transport of a URI that names none."""
        return self.layer.listeners.default_transport()

    def send_request(self, request: Request, target: Target, user: RequestUser, now: float, origin: Origin) -> FailoverRequest:
        """Send `request`; `user` receives its responses."""
        return self.layer.send_request(request, target, user, now, origin)

    def send_ack(self, request: Request, target: Target, origin: Origin, now: float) -> Ack:
        """Send the ACK to a 2xx."""
        return self.layer.send_ack(request, target, origin, now)

    def note_fault(self, where: str, error: Exception, *, call_id: str = "") -> None:
        """Report an internal error."""
        self.layer.faults.note(where, error, call_id=call_id)

    def guard(self, where: str, action: Callable[[], object]) -> None:
        """Run `action` and report an exception that it raises."""
        self.layer.faults.guard(where, action)

    def peers_version(self) -> tuple[int, int]:
        """A version that changes whenever `peer_hosts` may have changed."""
        return self.layer.n_client_transactions_begun, len(self.dialogs)

    def peer_hosts(self) -> frozenset[str]:
        """The addresses with an open call or request of ours."""
        return frozenset({entry.dialog.flow.remote.host for entry in self.dialogs.values()} | self.layer.client_hosts())

    # -- events -------------------------------------------------------------------------------------------------------------------------

    def emit(self, event: SipEvent) -> None:
        """Queue `event` for the next `take_events`."""
        self.events.append(event)

    def drop(self, flow: Flow, why: str, detail: str = "") -> None:
        """Report that a received message is ignored, and why."""
        self.events.append(MessageDropped(flow, why, detail[:200]))

    def learn_public_address(self, response: Response, method: str, flow: Flow) -> None:
        """Record the address that the peer sees us at (RFC 3581 §4), if configured. `method` is that of our request.

        Others are told what trunks' addresses see, and those that we ask by REGISTER and OPTIONS. A stranger would direct the media of all
        other callers to itself.
        """
        if self.config.learns_public_address:
            host = flow.remote.host
            is_for_others = method in ("REGISTER", "OPTIONS") or self.admission.is_known(host)
            seen = self.layer.reflections.note(flow.transport, host, response.top_via, is_for_others=is_for_others)
            if seen is not None:
                self.events.append(PublicAddressSeen(flow.transport, seen, flow.remote))

    def note_refusal(self, request: Request, flow: Flow, rule: str, code: int, *, trunk: str = "", detail: str = "") -> None:
        """Report that `rule` refused a request. `code` 0: no response was sent."""
        headers, is_call = request.headers, request.method == "INVITE"
        refused = RequestRefused(
            flow,
            request.method,
            rule,
            code,
            trunk,
            detail[:200],
            user_agent=(headers.get("User-Agent") or "")[:80],
            call_id=headers.get("Call-ID") or "",
            from_header=(headers.get("From") or "")[:500] if is_call else "",
            to_header=(headers.get("To") or "")[:500] if is_call else "",
        )
        self.events.append(refused)

    def new_token(self) -> TransactionToken:
        """A new token for a pending request."""
        return TransactionToken(self.randomness.token(8))

    def new_tag(self) -> str:
        """A new From or To tag (RFC 3261 §19.3)."""
        return self.randomness.token(8)

    def add_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Let `user` serve `dialog` from now on. It replaces any earlier user."""
        self.dialogs[dialog.key] = DialogEntry(dialog, user)

    def remove_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Remove `dialog`, unless another user serves it now."""
        entry = self.dialogs.get(dialog.key)
        if entry is not None and entry.user is user:
            del self.dialogs[dialog.key]

    def reply(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response; False if the transaction has had a final one. Raises LocalProtocolError if our own headers are malformed."""
        if not transaction.to_tag and reply.code > 100:
            transaction.to_tag = self.new_tag()
        data = self.response_bytes(transaction.request, transaction.via_lines, transaction.to_tag, reply, transaction.flow)
        return transaction.send(reply.code, data, now)

    def response_bytes(self, request: Request, via_lines: tuple[str, ...], to_tag: str, reply: Reply, flow: Flow) -> bytes:
        """See `responses.response_bytes`."""
        return response_bytes(self.config, self.layer.listeners, request, via_lines, to_tag, reply, flow)
