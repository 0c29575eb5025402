"""What the parts of an endpoint need of it: one narrow port per kind of part. `EndpointContext` implements them all; tests give fake ones.

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
    """What serves the requests inside a dialog."""

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """A new request that is neither ACK nor CANCEL; its CSeq is in order."""

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """An ACK that belongs to no transaction."""


@dataclass(slots=True)
class DialogEntry:
    """A dialog and what serves it now."""

    dialog: Dialog
    user: DialogUser


class MessageObserver(Protocol):
    """Sees each whole message that crosses the wire, and changes nothing. It is called for every message, so it must be quick."""

    def received(self, data: bytes, flow: Flow) -> None:
        """A message has come; whether it is acted on is not decided yet."""

    def sent(self, data: bytes, destination: Flow | Target) -> None:
        """A message goes out now, or a keep-alive of a stream; whether it arrives is not known."""


class ConfiguredPort(Protocol):
    """What every part may read."""

    @property
    def config(self) -> EndpointConfig:
        """What the endpoint says of itself."""


class SendingPort(ConfiguredPort, Protocol):
    """What a request of ours needs."""

    @property
    def randomness(self) -> Randomness:
        """Tokens, and the cnonce of a digest."""

    def default_transport(self) -> TransportName:
        """The transport of a URI that names none."""

    def send_request(self, request: Request, target: Target, user: RequestUser, now: float, origin: Origin) -> FailoverRequest:
        """Send `request`; `user` hears its responses. Raises LocalProtocolError if it cannot be made."""


class InvitePort(SendingPort, Protocol):
    """What an INVITE of ours needs: the ACK to its 2xx and alarms beside."""

    @property
    def timers(self) -> Timers:
        """The alarms."""

    def send_ack(self, request: Request, target: Target, origin: Origin, now: float) -> Ack:
        """Send the ACK to a 2xx, outside any transaction."""


class ByePort(SendingPort, Protocol):
    """What a BYE needs: it serves the dialog until it has its outcome."""

    def add_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Have `user` serve `dialog` from now on, in the place of any other."""

    def remove_dialog(self, dialog: Dialog, user: DialogUser) -> None:
        """Forget `dialog` unless another user serves it by now."""

    def reply(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response; False when the transaction has had a final one. Raises LocalProtocolError for malformed headers of ours."""

    def note_fault(self, where: str, error: Exception, *, call_id: str = "") -> None:
        """Report an error of our own; see `Faults.note`."""


class ScreeningPort(ConfiguredPort, Protocol):
    """What decides whether new calls are taken."""

    @property
    def is_accepting(self) -> bool:
        """False while the endpoint is being shut down, or is full."""

    @property
    def retry_after_s(self) -> int:
        """The Retry-After of the 503 meanwhile."""


class CallPort(InvitePort, ByePort, ScreeningPort, Protocol):
    """What a call needs of its endpoint."""

    def emit(self, event: SipEvent) -> None:
        """Hand `event` out."""

    def drop(self, flow: Flow, why: str, detail: str = "") -> None:
        """Say that something which arrived is not acted on."""

    def new_token(self) -> TransactionToken:
        """A name for a request that the leg waits for."""

    def new_tag(self) -> str:
        """A From or To tag (RFC 3261 §19.3)."""

    def guard(self, where: str, action: Callable[[], object]) -> None:
        """Run `action`; report what it raises. See `Faults.guard`."""


class RegistrationPort(SendingPort, Protocol):
    """What a registration needs."""

    @property
    def timers(self) -> Timers:
        """The alarms."""

    @property
    def listeners(self) -> Listeners:
        """Where we can be reached, and how each peer sees us."""

    def emit(self, event: SipEvent) -> None:
        """Hand `event` out."""

    def new_tag(self) -> str:
        """A From tag; also names the registration."""


class PeersPort(Protocol):
    """Who is in contact with us by our own doing."""

    def peers_version(self) -> tuple[int, int]:
        """Changes when `peer_hosts` may have changed."""

    def peer_hosts(self) -> frozenset[str]:
        """The addresses with which a call or a request of ours is under way."""
