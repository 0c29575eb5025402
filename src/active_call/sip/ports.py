"""What the parts of an endpoint need from it: one narrow port per kind of part. `EndpointContext` implements all; tests pass fakes.

Only the endpoint, its operations and the dispatch know the context itself. A part that sends requests takes a `SendingPort`, the INVITE
client an `InvitePort`, a BYE a `ByePort`, a call a `CallPort`, a registration a `RegistrationPort`, the screening a `ScreeningPort`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from active_call.base.world import Randomness
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.events import EndpointConfig, Flow, SipEvent, Target, TransactionToken, TransportName
from active_call.sip.listeners import Listeners
from active_call.sip.responses import Reply
from active_call.sip.syntax.message import Request
from active_call.sip.transaction.ack import Ack
from active_call.sip.transaction.failover import FailoverRequest, RequestUser
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timers


class DialogUser(Protocol):
    """Serves the requests inside a dialog."""

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """Handle a new request other than ACK and CANCEL. Its CSeq is in order."""

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Handle an ACK that belongs to no transaction."""


@dataclass(slots=True)
class DialogEntry:
    """A dialog and its current user."""

    dialog: Dialog
    user: DialogUser


class MessageObserver(Protocol):
    """Receives each whole message on the wire, read-only. It is called for every message, so it must be fast."""

    def received(self, data: bytes, flow: Flow) -> None:
        """A message has arrived. Whether it is processed is not decided yet."""

    def sent(self, data: bytes, destination: Flow | Target) -> None:
        """A message or a stream keep-alive is being sent. Whether it arrives is unknown."""


class ConfiguredPort(Protocol):
    """What every part may read."""

    @property
    def config(self) -> EndpointConfig:
        """The configuration of the endpoint."""


class SendingPort(ConfiguredPort, Protocol):
    """What an outgoing request needs."""

    @property
    def randomness(self) -> Randomness:
        """Source of tokens and of the digest cnonce."""

    def default_transport(self) -> TransportName:
        """The transport of a URI that names none."""

    def send_request(self, request: Request, target: Target, user: RequestUser, now: float, origin: Origin) -> FailoverRequest:
        """Send `request`; `user` receives its responses. Raises LocalProtocolError if it cannot be built."""


class InvitePort(SendingPort, Protocol):
    """What an outgoing INVITE needs in addition: the ACK to its 2xx, and timers."""

    @property
    def timers(self) -> Timers:
        """The timers of the endpoint."""

    def send_ack(self, request: Request, target: Target, origin: Origin, now: float) -> Ack:
        """Send the ACK to a 2xx, outside any transaction."""


class ByePort(SendingPort, Protocol):
    """What a BYE needs: it serves the dialog until its outcome."""

    def add_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Let `user` serve `dialog` from now on. It replaces any earlier user."""

    def remove_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Remove `dialog`, unless another user serves it now."""

    def reply(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response. False if the transaction has had a final one. Raises LocalProtocolError if our own headers are malformed."""

    def note_fault(self, where: str, error: Exception, *, call_id: str = "") -> None:
        """Report an internal error; see `Faults.note`."""


class ScreeningPort(ConfiguredPort, Protocol):
    """What the decision about new calls needs."""

    @property
    def is_accepting(self) -> bool:
        """False while the endpoint shuts down or is full."""

    @property
    def retry_after_s(self) -> int:
        """The Retry-After of the 503 in that state."""


class CallPort(InvitePort, ByePort, ScreeningPort, Protocol):
    """What a call needs from its endpoint."""

    def emit(self, event: SipEvent) -> None:
        """Queue `event` for the legs."""

    def drop(self, flow: Flow, why: str, detail: str = "") -> None:
        """Report that a received message is ignored, and why."""

    def new_token(self) -> TransactionToken:
        """A new token for a request that waits for the leg."""

    def new_tag(self) -> str:
        """A new From or To tag (RFC 3261 §19.3)."""

    def guard(self, where: str, action: Callable[[], object]) -> None:
        """Run `action` and report an exception that it raises. See `Faults.guard`."""


class RegistrationPort(SendingPort, Protocol):
    """What a registration needs."""

    @property
    def timers(self) -> Timers:
        """The timers of the endpoint."""

    @property
    def listeners(self) -> Listeners:
        """The addresses where we can be reached, and how each peer sees us."""

    def emit(self, event: SipEvent) -> None:
        """Queue `event` for the legs."""

    def new_tag(self) -> str:
        """A new From tag. It also identifies the registration."""


class PeersPort(Protocol):
    """The peers with which we have open calls or requests."""

    def peers_version(self) -> tuple[int, int]:
        """A version that changes whenever `peer_hosts` may have changed."""

    def peer_hosts(self) -> frozenset[str]:
        """The addresses with an open call or request of ours."""
