"""The INVITE usage of a dialog (RFC 5057): the state that the parts of one call share, and their functions to send, report and set timers.

`Usage` implements `DialogPort` for the parts. It makes no decisions: the call implements `act`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from active_call.base.errors import LocalProtocolError
from active_call.base.world import Randomness
from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_client import ClientInvite, ClientInviteOwner
from active_call.sip.dialog.ports import RequestOutcome, SessionDescriptions
from active_call.sip.dialog.requests import OutgoingRequest, in_dialog
from active_call.sip.events import CallHandle, Credentials, EndpointConfig, Flow, HeaderList, SipEvent
from active_call.sip.ports import CallPort
from active_call.sip.responses import Reply
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.message import Response
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timer


class CallState(Enum):
    """The state of a call; see `call`."""

    OFFERED = auto()
    ANSWERED = auto()
    CALLING = auto()
    CANCELLING = auto()
    ACTIVE = auto()
    ENDED = auto()


class Usage(ClientInviteOwner):
    """See the module."""

    def __init__(self, endpoint: CallPort, state: CallState, credentials: tuple[Credentials, ...]) -> None:
        self._endpoint = endpoint
        self.handle = CallHandle(endpoint.randomness.token(8))
        self.state = state
        self.credentials = credentials
        self.dialog: Dialog | None = None
        self.descriptions = SessionDescriptions()

    def act(self, decision: Decision, now: float) -> None:
        """Carry out the decision of a part."""
        raise NotImplementedError

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag."""
        raise NotImplementedError

    # -- state --------------------------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> EndpointConfig:
        """The configuration of the endpoint."""
        return self._endpoint.config

    @property
    def randomness(self) -> Randomness:
        """Source of tokens and jitter."""
        return self._endpoint.randomness

    @property
    def contact_user(self) -> str:
        """The user part of our Contact in this call."""
        return self.dialog.contact_user if self.dialog is not None else ""

    @property
    def is_active(self) -> bool:
        """Whether the call is answered and acknowledged."""
        return self.state is CallState.ACTIVE

    @property
    def is_answered(self) -> bool:
        """Whether a 2xx has been sent or received, and neither side has hung up."""
        return self.state in (CallState.ACTIVE, CallState.ANSWERED)

    @property
    def is_first_invite_open(self) -> bool:
        """Whether the INVITE that created this call has no final response from us yet."""
        return self.state is CallState.OFFERED

    # -- what parts send and report, and their timers -----------------------------------------------------------------------------------

    def emit(self, event: SipEvent) -> None:
        """Report `event` to the leg."""
        self._endpoint.emit(event)

    def respond(self, transaction: ServerTransaction, reply: Reply, now: float) -> bool:
        """Send a response. False if the transaction has had a final one. Raises LocalProtocolError for malformed headers."""
        return self._endpoint.reply(transaction, reply, now)

    def set_timer(self, at: float, decide: Callable[[float], Decision]) -> Timer:
        """Call `decide(now)` at `at` and act on what it returns."""
        return self._endpoint.timers.start(at, partial(self._on_timer, decide), self)

    def cancel_timer(self, timer: Timer | None) -> None:
        """Cancel `timer`. No effect if it has already fired."""
        self._endpoint.timers.cancel(timer)

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
        make = partial(in_dialog, self._endpoint, dialog or self.require_dialog(), method, headers, body, content_type)
        OutgoingRequest(self._endpoint, make, self.credentials, partial(self._on_outcome, on_outcome)).send(now)

    def send_invite(self, headers: Callable[[], HeaderList], sdp: bytes | None, give_up_s: float, now: float) -> ClientInvite:
        """Send a re-INVITE whose outcome goes to the call; see `DialogPort`."""
        dialog = self.require_dialog()
        invite = ClientInvite(
            self._endpoint,
            self,
            lambda: in_dialog(self._endpoint, dialog, "INVITE", headers(), sdp or b"", SDP_TYPE),
            self.credentials,
            is_reinvite=True,
        )
        invite.send(now, give_up_s)
        return invite

    def require_dialog(self) -> Dialog:
        """The call's dialog. Raises LocalProtocolError before there is one."""
        if self.dialog is None:
            raise LocalProtocolError("the call has no dialog yet")
        return self.dialog

    def _on_timer(self, decide: Callable[[float], Decision], now: float) -> None:
        decision = decide(now)
        if decision is not None:
            self.act(decision, now)

    def _on_outcome(
        self, on_outcome: RequestOutcome | None, code: int, reason: str, response: Response | None, flow: Flow | None, now: float
    ) -> None:
        del flow
        decision = on_outcome(code, reason, response, now) if on_outcome is not None else None
        if decision is not None:
            self.act(decision, now)
