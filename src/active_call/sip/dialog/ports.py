"""What the parts of a call need from it: the state of its dialog, and ways to send, answer, report and set timers.

The call implements `DialogPort`; tests pass a fake. A part returns a `Decision` if the call has to end or to be refreshed. The call also
acts on what a timer or an outcome callback returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from active_call.base.world import Randomness
from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_client import ClientInvite
from active_call.sip.events import CallHandle, EndpointConfig, HeaderList, SipEvent, TransactionToken
from active_call.sip.responses import Reply
from active_call.sip.syntax.message import Response
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timer

RequestOutcome = Callable[[int, str, Response | None, float], Decision]
"""Code, reason, response and `now`. Without a response the code is 408 (timeout) or 503 (the request could not be sent)."""


@dataclass(slots=True)
class SessionDescriptions:
    """The current session descriptions of a call (RFC 3264); None before there is one."""

    local: bytes | None = None
    remote: bytes | None = None


class AnsweringPort(Protocol):
    """What the server side of one INVITE needs."""

    @property
    def config(self) -> EndpointConfig:
        """The configuration of the endpoint."""

    @property
    def randomness(self) -> Randomness:
        """Source of tokens and jitter."""

    def respond(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response. False if the transaction has had a final one. Raises LocalProtocolError for malformed headers."""

    def set_timer(self, at: float, decide: Callable[[float], Decision]) -> Timer:
        """Call `decide(now)` at `at` (monotonic seconds) and act on what it returns."""

    def cancel_timer(self, timer: Timer | None) -> None:
        """Cancel `timer`. No effect if it has already fired."""


class DialogPort(AnsweringPort, Protocol):
    """What session timer, re-INVITE and UPDATE, REFER and PRACK need from their call."""

    @property
    def handle(self) -> CallHandle:
        """Identifies the call in events."""

    @property
    def dialog(self) -> Dialog | None:
        """The call's dialog; None before the peer has sent a tag."""

    @property
    def descriptions(self) -> SessionDescriptions:
        """The session descriptions after the last offer/answer exchange."""

    @property
    def is_active(self) -> bool:
        """Whether the call is answered and acknowledged."""

    @property
    def is_answered(self) -> bool:
        """Whether a 2xx has been sent or received, and neither side has hung up."""

    @property
    def is_first_invite_open(self) -> bool:
        """Whether the INVITE that created the call has no final response from us yet."""

    def emit(self, event: SipEvent) -> None:
        """Report `event` to the leg."""

    def send_request(
        self,
        method: str,
        headers: HeaderList,
        now: float,
        *,
        body: bytes = b"",
        content_type: str = "",
        dialog: Dialog | None = None,
        on_outcome: RequestOutcome | None = None,
    ) -> None:
        """Send a request inside the dialog, or inside the early dialog given. Raises LocalProtocolError if it cannot be built."""

    def send_reported_request(self, method: str, now: float, headers: HeaderList) -> TransactionToken:
        """Send an in-dialog request. RequestCompleted with the token reports its outcome. Raises LocalProtocolError."""

    def send_invite(self, headers: Callable[[], HeaderList], sdp: bytes | None, give_up_s: float, now: float) -> ClientInvite:
        """Send a re-INVITE. `headers` is called for each attempt; it is cancelled after `give_up_s` seconds. Raises LocalProtocolError."""
