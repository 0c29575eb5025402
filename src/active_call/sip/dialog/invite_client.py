"""Send one INVITE or re-INVITE: challenges, CANCEL, and the ACKs to its 2xx (RFC 3261 §9.1, §13.2).

A function that builds the INVITE for each attempt goes in, then responses and the request to cancel. INVITE, CANCEL and ACK come out, and
calls of `ClientInviteOwner`. A CANCEL waits for a provisional response. The ACK to each 2xx is kept and sent again for every repetition of
that 2xx, which the transaction passes on for 64*T1. The owner decides what a success or a failure means for the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from active_call.base.errors import LocalProtocolError
from active_call.sip.credentials import Authenticator
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.requests import Attempt, add_body
from active_call.sip.events import Credentials, Flow, HeaderList, TransportName
from active_call.sip.ports import InvitePort
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.ack import Ack
from active_call.sip.transaction.failover import FailoverRequest
from active_call.sip.transaction.tables import LIFETIME_T1S
from active_call.sip.transaction.timers import Timer

MAX_FORKS: Final = 32
"""Dialogs that one INVITE may create. Responses of further ones are dropped: a proxy forks to a few phones, not to hundreds."""


class ClientInviteOwner(Protocol):
    """The call that an INVITE belongs to."""

    def on_invite_progress(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """A provisional response, 100 included."""

    def on_invite_success(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """A 2xx with a To tag that is not acknowledged yet. `invite.acknowledge` must follow, now or later."""

    def on_invite_failure(self, invite: ClientInvite, code: int, reason: str, response: Response | None, now: float) -> None:
        """The final outcome is not a 2xx. With `response` None, 408 means that no answer came and 503 that it could not be sent."""


class ClientInvite:
    """See the module. `make` returns the INVITE with the next sequence number, and its target."""

    def __init__(
        self,
        port: InvitePort,
        owner: ClientInviteOwner,
        make: Callable[[], Attempt],
        credentials: tuple[Credentials, ...],
        *,
        is_reinvite: bool = False,
    ) -> None:
        self._port = port
        self._owner = owner
        self._make = make
        self.is_reinvite = is_reinvite
        self._authenticator = Authenticator(credentials, port.randomness)
        self._sent: FailoverRequest | None = None
        self._acks: dict[str, Ack | None] = {}
        self._cancel_headers: HeaderList | None = None
        self._is_cancel_sent = False
        self._timer: Timer | None = None
        self.is_done = False

    @property
    def request(self) -> Request:
        """The INVITE as sent last."""
        if self._sent is None:
            raise LocalProtocolError("the INVITE has not been sent yet")
        return self._sent.request

    @property
    def peer_host(self) -> str:
        """The address that the INVITE was sent to last; empty before that."""
        return self._sent.peer_host if self._sent is not None else ""

    @property
    def transport(self) -> TransportName:
        """The transport of the last attempt."""
        return self._sent.transport if self._sent is not None else "udp"

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancel_headers is not None

    def send(self, now: float, give_up_s: float | None = None) -> None:
        """Build and send the next attempt. Cancel it after `give_up_s` without a final response. Raises LocalProtocolError."""
        request, target, origin = self._make()
        self._authenticator.add_to(request)
        self._sent = self._port.send_request(request, target, self, now, origin)
        if give_up_s is not None:
            self._timer = self._port.timers.start(now + give_up_s, self.cancel, self._sent)

    def cancel(self, now: float, headers: HeaderList = ()) -> None:
        """Cancel the INVITE at once, or on the first provisional response. The outcome still follows; it may be a 2xx."""
        if self.is_done or self.is_cancelled:
            return
        self._cancel_headers = headers
        if self._sent is None:
            return
        if self._sent.is_proceeding:
            self._send_cancel(self._sent, now)
        else:
            self._sent.withdraw(now)

    def acknowledge(self, dialog: Dialog, now: float, sdp: bytes | None = None) -> None:
        """Send the ACK to the 2xx that created or refreshed `dialog`, and keep it for repetitions (§13.2.2.4)."""
        request = dialog.new_request("ACK", self.request.cseq.number)
        for name in ("Authorization", "Proxy-Authorization"):
            for value in self.request.headers.get_all(name):
                request.headers.add(name, value)
        add_body(request, (("User-Agent", self._port.config.user_agent),), sdp or b"", SDP_TYPE)
        target = dialog.next_hop(self._port.default_transport())
        self._acks[self._ack_key(dialog.remote_tag)] = self._port.send_ack(request, target, dialog.origin("ACK"), now)

    # -- called by the transaction ------------------------------------------------------------------------------------------------------

    def on_response(self, request: FailoverRequest, response: Response, flow: Flow, now: float) -> None:
        """Handle a response to the INVITE or to one of its attempts."""
        if response.code < 200:
            self._on_provisional(request, response, flow, now)
        elif response.code < 300:
            self._on_success(response, flow, now)
        elif request is self._sent:
            self._on_failure(response, now)

    def on_no_response(self, request: FailoverRequest, code: int, reason: str, now: float) -> None:
        """The INVITE got no final response or could not be sent."""
        if request is self._sent:
            self._finish()
            self._owner.on_invite_failure(self, code, reason, None, now)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def _on_provisional(self, request: FailoverRequest, response: Response, flow: Flow, now: float) -> None:
        if self.is_cancelled and not self._is_cancel_sent:
            self._send_cancel(request, now)
        self._owner.on_invite_progress(self, response, flow, now)

    def _on_success(self, response: Response, flow: Flow, now: float) -> None:
        self._finish()
        key = self._ack_key(response.to.tag or "")
        if key in self._acks:
            sent = self._acks[key]
            if sent is not None:
                sent.repeat()
            return
        if len(self._acks) >= MAX_FORKS:
            return
        self._acks[key] = None
        self._owner.on_invite_success(self, response, flow, now)

    def _ack_key(self, tag: str) -> str:
        """Each dialog that an INVITE creates has its own ACK. A re-INVITE has one dialog, whatever tag its 2xx carry."""
        return "" if self.is_reinvite else tag

    def _on_failure(self, response: Response, now: float) -> None:
        if not self.is_cancelled and self._authenticator.answer_challenge(response, self.send, now):
            return
        self._finish()
        self._owner.on_invite_failure(self, response.code, response.reason, response, now)

    def _send_cancel(self, request: FailoverRequest, now: float) -> None:
        self._is_cancel_sent = True
        request.cancel(now, self._cancel_headers or ())
        self._port.timers.cancel(self._timer)
        self._timer = self._port.timers.start(now + LIFETIME_T1S * self._port.config.t1_s, self._on_cancel_unanswered, request)

    def _on_cancel_unanswered(self, now: float) -> None:
        """Without a final response within 64*T1 after the CANCEL, the INVITE counts as cancelled (§9.1)."""
        if self.is_done or self._sent is None:
            return
        self._sent.terminate()
        self._finish()
        self._owner.on_invite_failure(self, 408, "Request Timeout", None, now)

    def _finish(self) -> None:
        self.is_done = True
        self._port.timers.cancel(self._timer)
