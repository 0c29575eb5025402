"""Serve one INVITE or re-INVITE (RFC 3261 §13.3, §14.2).

    pending ──accept──> answered ──ACK──> done
       └────refuse / CANCEL / the call ends──> done

While pending, a provisional response is repeated every minute so that proxies keep the transaction (§13.3.1.1). Provisional responses may
be reliable (RFC 3262). A 2xx then waits for the PRACK of a response with a session description, and the INVITE stays pending. While
answered, the 2xx is repeated at intervals from T1 up to T2, over any transport, until the ACK or for 64*T1 (§13.3.1.4). The decisions of
the call, the ACK, the PRACK and the CANCEL go in. Responses come out, and calls of the `ServerInviteOwner`, which decides what a missing
ACK means.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.ports import AnsweringPort
from active_call.sip.dialog.provisional import ReliableProvisionals
from active_call.sip.events import HeaderList
from active_call.sip.responses import Reply
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, session_description
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.tables import LIFETIME_T1S
from active_call.sip.transaction.timers import Timer

_PROVISIONAL_EVERY_S = 60.0


class ServerInviteState(Enum):
    """See the module."""

    PENDING = auto()
    ANSWERED = auto()
    DONE = auto()


class ServerInviteOwner(Protocol):
    """The call that an INVITE belongs to."""

    def on_invite_acknowledged(self, invite: ServerInvite, sdp: bytes | None, now: float) -> None:
        """The ACK to our 2xx has arrived."""

    def on_invite_unacknowledged(self, invite: ServerInvite, now: float) -> Decision:
        """No ACK within 64*T1. Returns what happens to the call."""

    def on_invite_cancelled(self, invite: ServerInvite, request: Request, now: float) -> None:
        """The peer has cancelled. 487 has been sent."""


class ServerInvite:
    """See the module."""

    def __init__(self, port: AnsweringPort, transaction: ServerTransaction, owner: ServerInviteOwner, contact_user: str) -> None:
        self._port = port
        self._owner = owner
        self._contact_user = contact_user
        self._timer: Timer | None = None
        self._repeat_after_s = 0.0
        self._give_up_at = 0.0
        self._reliable: ReliableProvisionals | None = None
        self._last_progress = (180, "Ringing")
        self._waiting_success: tuple[bytes, HeaderList] | None = None
        self.early_sdp: bytes | None = None
        """Our session description in an acknowledged provisional response that completed offer/answer."""
        self.transaction = transaction
        self.request = transaction.request
        self.sdp = session_description(transaction.request)
        self.state = ServerInviteState.PENDING
        transaction.user = self

    @property
    def cseq(self) -> int:
        """The sequence number of the INVITE."""
        return self.request.cseq.number

    @property
    def is_pending(self) -> bool:
        """Whether no final response has been sent."""
        return self.state is ServerInviteState.PENDING

    def progress(self, code: int, reason: str, now: float, *, headers: HeaderList = (), sdp: bytes | None = None) -> bool:
        """Send a provisional response other than 100. False if the final one has been sent."""
        if not self.is_pending:
            return False
        reply = self._reply(code, reason, headers, sdp)
        self._last_progress = (code, reason)
        if self._reliable is not None:
            self._reliable.send(reply, now)
        else:
            self._port.respond(self.transaction, reply, now)
        self._start_timer(now + _PROVISIONAL_EVERY_S, self._on_minute)
        return True

    def make_reliable(self, on_unacknowledged: Callable[[float], Decision]) -> None:
        """Send provisional responses reliably from now on. `on_unacknowledged(now)` is called once if one gets no PRACK within 64*T1."""
        self._reliable = ReliableProvisionals(self._port, self.transaction, on_unacknowledged)

    def take_prack(self, request: Request) -> bool:
        """Whether `request` acknowledges the outstanding provisional response. If so, call `resume` next."""
        acknowledged = self._reliable.take_prack(request) if self._reliable is not None else None
        if acknowledged is None:
            return False
        self.transaction.is_address_validated = True
        if acknowledged.body and (self.sdp is not None or session_description(request) is not None):
            self.early_sdp = acknowledged.body
        return True

    def resume(self, now: float) -> None:
        """Send what was waiting for the PRACK: the next provisional response, or the 200."""
        if not self.is_pending or self._reliable is None:
            return
        self._reliable.resume(now)
        if self._waiting_success is not None and not self._reliable.holds_back_success:
            self.accept(self._waiting_success[0], now, self._waiting_success[1])

    def accept(self, sdp: bytes, now: float, headers: HeaderList = ()) -> bool:
        """Send the 200 and repeat it until the ACK arrives. False if a final response has been sent.

        If offer/answer is already complete, the 200 repeats our description or has none.
        """
        if not self.is_pending:
            return False
        if self._reliable is not None and self._reliable.holds_back_success:
            Headers(headers)  # sent later: raise now if they are malformed
            self._waiting_success = (sdp, headers)
            return True
        if self.early_sdp is not None:
            sdp = self.early_sdp if self.sdp is not None else b""
        if self._reliable is not None:
            self._reliable.close()
        config = self._port.config
        self._port.respond(self.transaction, self._reply(200, "OK", headers, sdp), now)
        self.state = ServerInviteState.ANSWERED
        self._give_up_at = now + LIFETIME_T1S * config.t1_s
        self._repeat_after_s = config.t1_s
        self._start_timer(now + self._repeat_after_s, self._on_repeat)
        return True

    def refuse(self, code: int, reason: str, now: float, headers: HeaderList = ()) -> bool:
        """Send a final response of 300 or above. False if one has been sent."""
        if not self.is_pending:
            return False
        self._port.respond(self.transaction, Reply(code, reason, headers), now)
        self.stop()
        return True

    def stop(self) -> None:
        """Stop: no repetitions and no more calls to the owner. The lingering transaction drops its reference to the call."""
        self.state = ServerInviteState.DONE
        self.transaction.user = None
        if self._reliable is not None:
            self._reliable.close()
        self._port.cancel_timer(self._timer)

    # -- called by the transaction ------------------------------------------------------------------------------------------------------

    def on_ack(self, request: Request, now: float) -> None:
        """Handle the ACK, matched by branch or by dialog. A second one has no effect."""
        if self.state is not ServerInviteState.ANSWERED:
            return
        self.stop()
        self._owner.on_invite_acknowledged(self, session_description(request), now)

    def on_cancel(self, request: Request, now: float) -> None:
        """Handle the peer's CANCEL: 487, unless a final response has been sent (§9.2)."""
        if not self.is_pending:
            return
        self.refuse(487, "Request Terminated", now)
        self._owner.on_invite_cancelled(self, request, now)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def _reply(self, code: int, reason: str, headers: HeaderList, sdp: bytes | None) -> Reply:
        if not any(name.lower() == "allow" for name, _ in headers):
            headers = (*headers, ("Allow", self._port.config.allow_header))
        if self._port.config.supported and code >= 200:
            headers = (*headers, ("Supported", self._port.config.supported_header))
        return Reply(code, reason, headers, sdp or b"", SDP_TYPE, self._contact_user, makes_dialog=True)

    def _start_timer(self, at: float, decide: Callable[[float], Decision]) -> None:
        self._port.cancel_timer(self._timer)
        self._timer = self._port.set_timer(at, decide)

    def _on_minute(self, now: float) -> Decision:
        if not self.is_pending:
            return None
        if self._reliable is None:
            self.transaction.repeat()
        elif not self._reliable.is_waiting:
            self._reliable.send(self._reply(*self._last_progress, (), None), now)
        self._start_timer(now + _PROVISIONAL_EVERY_S, self._on_minute)
        return None

    def _on_repeat(self, now: float) -> Decision:
        if self.state is not ServerInviteState.ANSWERED:
            return None
        if now >= self._give_up_at:
            self.stop()
            return self._owner.on_invite_unacknowledged(self, now)
        self.transaction.repeat()
        self._repeat_after_s = min(2 * self._repeat_after_s, self._port.config.t2_s)
        self._start_timer(min(now + self._repeat_after_s, self._give_up_at), self._on_repeat)
        return None
