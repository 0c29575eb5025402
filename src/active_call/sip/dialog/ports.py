"""What the parts of a call need of it: the state of its dialog, and ways to send, to answer, to report and to wait.

The call implements `DialogPort`; a test gives a fake one. A part returns a `Decision` where the call is to end or to be refreshed. The call
acts on what a timer or an outcome returns.
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
"""Code, reason, response and `now`: 408 or 503 without a response where none came or the request could not be sent."""


@dataclass(slots=True)
class SessionDescriptions:
    """The session descriptions that hold in a call (RFC 3264); None before there is one."""

    local: bytes | None = None
    remote: bytes | None = None


class AnsweringPort(Protocol):
    """What serving one INVITE needs."""

    @property
    def config(self) -> EndpointConfig:
        """What the endpoint says of itself."""

    @property
    def randomness(self) -> Randomness:
        """Tokens and jitter."""

    def respond(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response; False when the transaction has had a final one. Raises LocalProtocolError for malformed headers."""

    def set_timer(self, at: float, decide: Callable[[float], Decision]) -> Timer:
        """Call `decide(now)` at `at` (monotonic seconds) and act on what it returns."""

    def cancel_timer(self, timer: Timer | None) -> None:
        """Forget `timer`; harmless when it has already run."""


class DialogPort(AnsweringPort, Protocol):
    """What session timer, re-INVITE and UPDATE, REFER and PRACK need of the call that they belong to."""

    @property
    def handle(self) -> CallHandle:
        """Names the call in events."""

    @property
    def dialog(self) -> Dialog | None:
        """The call's dialog; None before the peer has given a tag."""

    @property
    def descriptions(self) -> SessionDescriptions:
        """The session as offer and answer have it."""

    @property
    def is_active(self) -> bool:
        """Whether the call is answered and acknowledged."""

    @property
    def is_answered(self) -> bool:
        """Whether a 2xx has been sent or received, and neither side has hung up."""

    @property
    def is_first_invite_open(self) -> bool:
        """Whether the INVITE that made the call has no final response of ours yet."""

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
        """Send a request inside the dialog, or inside that early one. Raises LocalProtocolError if it cannot be made."""

    def send_reported_request(self, method: str, now: float, headers: HeaderList) -> TransactionToken:
        """Send a request inside the dialog; RequestCompleted with the token tells its outcome. Raises LocalProtocolError."""

    def send_invite(self, headers: Callable[[], HeaderList], sdp: bytes | None, give_up_s: float, now: float) -> ClientInvite:
        """Send a re-INVITE; `headers` are asked for at each attempt, `give_up_s` is when it is cancelled. Raises LocalProtocolError."""
