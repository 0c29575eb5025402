"""Offers inside an established call, ours and the peer's, by re-INVITE and UPDATE (RFC 3261 §14, RFC 3311, RFC 6141).

One offer at a time:

    ours out, theirs comes     491; when ours gets a 491, it is tried again after 2.1-4 s if we own the Call-ID, else 0-2 s (§14.1);
                               not if theirs was answered meanwhile: then ours is out of date, and the leg is told the 491
    theirs unanswered, another  500 with Retry-After of 0-10 s (§14.2)
    offer in a 2xx (delayed)    the ACK waits for `answer_offer`

Enters: requests and responses of the dialog, the leg's offers and answers. Leaves: INVITE, ACK, responses, OfferReceived,
OfferAcknowledged and OfferAnswered.
An UPDATE without a description is answered here: it refreshes target or session, and asks nothing of the leg. A refresh of ours by
re-INVITE repeats our description unchanged; the leg hears of it only when the peer's answer is not the one it knows (RFC 4028 §7.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from active_call.base.errors import LocalProtocolError
from active_call.sip.context import SDP_TYPE, EndpointContext, Reply
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_client import ClientInvite
from active_call.sip.dialog.invite_server import ServerInvite, ServerInviteState
from active_call.sip.dialog.provisional import OPTION_TAG, ProvisionalReceiver, rseq_of
from active_call.sip.dialog.requests import Attempt, in_dialog
from active_call.sip.events import Flow, HeaderList, OfferAcknowledged, OfferAnswered, OfferReceived
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timer

if TYPE_CHECKING:
    from active_call.sip.dialog.call import Call

_MAX_GLARES = 8
"""Two sides that keep colliding for longer than this are not both well; the leg is told."""
_REINVITE_LIFETIME_S = 64.0
"""A re-INVITE rings nobody: without a final response by then it is cancelled."""


class OfferExchange:
    """See the module."""

    def __init__(self, core: EndpointContext, call: Call) -> None:
        self._core = core
        self._call = call
        self._ours: ClientInvite | None = None
        self._our_sdp: bytes | None = None
        self._our_headers: HeaderList = ()
        self._is_refresh = False
        self._early_answer: bytes | None = None
        self._reliable = ProvisionalReceiver(core, call.credentials)
        self._n_glares = 0
        self._is_overtaken = False
        """An offer of the peer was answered while ours waits to be tried again."""
        self._retry: Timer | None = None
        self._ack_owed: ClientInvite | None = None
        self._theirs: ServerInvite | ServerTransaction | None = None
        self._unacknowledged: dict[int, ServerInvite] = {}
        self._is_stopped = False

    # -- ours ---------------------------------------------------------------------------------------------------------------------------

    def offer(self, sdp: bytes | None, headers: HeaderList, now: float) -> bool:
        """Send a re-INVITE; OfferAnswered follows. False while another offer is open, or our last answer is not acknowledged."""
        if self._is_taken:
            return False
        self._start(sdp, headers, now, is_refresh=False)
        return True

    def refresh(self, now: float) -> bool:
        """Send a re-INVITE that changes nothing; False while another offer is open."""
        if self._is_taken:
            return False
        self._start(self._call.local_sdp, (), now, is_refresh=True)
        return True

    @property
    def _is_taken(self) -> bool:
        return self._is_offering or self._theirs is not None or self._ack_owed is not None or self._has_unacknowledged

    def _start(self, sdp: bytes | None, headers: HeaderList, now: float, *, is_refresh: bool) -> None:
        self._our_sdp = sdp
        self._our_headers = headers
        self._is_refresh = is_refresh
        self._is_overtaken = False
        self._n_glares = 0
        self._send(now)

    @property
    def _is_offering(self) -> bool:
        return self._ours is not None or (self._retry is not None and self._retry.action is not None)

    @property
    def _has_unacknowledged(self) -> bool:
        return any(invite.state is ServerInviteState.ANSWERED for invite in self._unacknowledged.values())

    def owe_ack(self, invite: ClientInvite) -> None:
        """`invite` had no description, its 2xx has: the ACK waits for `answer_offer`."""
        self._ack_owed = invite

    def make_invite(self) -> Attempt:
        sdp = self._our_sdp
        tags = [tag for tag in self._core.config.supported if sdp is not None or tag != OPTION_TAG]
        own = (("Allow", self._core.allow), ("Supported", ", ".join(tags)), *self._call.timer.request_headers())
        headers = (*self._our_headers, *own)
        return in_dialog(self._core, self._dialog, "INVITE", headers, sdp or b"", SDP_TYPE)

    def on_invite_progress(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """A reliable one is acknowledged, and its description is the answer (RFC 3262 §5); the 2xx need not repeat it."""
        del flow
        if rseq_of(response) is None or self._is_stopped or invite is not self._ours or response.to.tag != self._dialog.remote_tag:
            return
        if self._reliable.is_news(response):
            self._early_answer = session_description(response) or self._early_answer
            self._reliable.acknowledge(self._dialog, response, now)

    def on_invite_success(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        del flow
        dialog = self._dialog
        dialog.refresh_target(response)
        if response.to.tag != dialog.remote_tag:
            return
        if self._is_stopped or invite is not self._ours:
            invite.acknowledge(dialog, now)
            return
        self._ours = None
        self._call.timer.take_response(response, now)
        sdp = session_description(response) or self._early_answer
        if self._our_sdp is None and sdp is not None:
            self.owe_ack(invite)
        else:
            invite.acknowledge(dialog, now)
            self._call.local_sdp = self._our_sdp or self._call.local_sdp
        if not self._is_refresh or (sdp is not None and sdp != self._call.remote_sdp):
            self._core.emit(OfferAnswered(self._call.handle, response.code, sdp))
        self._call.remote_sdp = sdp or self._call.remote_sdp

    def on_invite_failure(self, invite: ClientInvite, code: int, reason: str, response: Response | None, now: float) -> None:
        if self._is_stopped or invite is not self._ours:
            return
        self._ours = None
        if code == 491 and self._n_glares < _MAX_GLARES:
            self._n_glares += 1
            low, high = (2.1, 4.0) if self._dialog.is_ours else (0.0, 2.0)
            self._retry = self._core.layer.timers.start(now + self._core.randomness.uniform(low, high), self._on_retry, self._call)
            return
        if code in (408, 481) or response is None:
            self._call.lose(code, reason, response, now)
            return
        if code == 422 and self._call.timer.take_422(response):
            self._send(now)
            return
        if self._is_refresh:
            self._call.timer.on_refresh_refused(now)
            return
        self._core.emit(OfferAnswered(self._call.handle, code, None))

    def _on_retry(self, now: float) -> None:
        if self._is_stopped:
            return
        if self._theirs is not None or self._ack_owed is not None:
            self._retry = self._core.layer.timers.start(now + self._core.config.t1_s, self._on_retry, self._call)
            return
        if self._is_overtaken and not self._is_refresh:
            self._core.emit(OfferAnswered(self._call.handle, 491, None))
            return
        self._send(now)

    def _send(self, now: float) -> None:
        self._early_answer = None
        if self._is_refresh:
            self._our_sdp = self._call.local_sdp  # the peer may have had an offer of its own answered since the first attempt
        self._ours = ClientInvite(self._core, self, self._call.credentials)
        try:
            self._ours.send(now, _REINVITE_LIFETIME_S)
        except LocalProtocolError:
            self._ours = None
            raise

    # -- theirs -------------------------------------------------------------------------------------------------------------------------

    def handle_invite(self, transaction: ServerTransaction, request: Request, now: float, *, is_busy: bool) -> None:
        """A re-INVITE. `is_busy`: the call's first INVITE has had no final response yet."""
        if self._refuse_collision(transaction, now, is_busy=is_busy):
            return
        self._core.reply(transaction, Reply(100, "Trying"), now)
        self._dialog.refresh_target(request)
        invite = ServerInvite(self._core, transaction, self, self._dialog.contact_user)
        self._theirs = invite
        self._core.emit(OfferReceived(self._call.handle, invite.sdp, request))

    def handle_update(self, transaction: ServerTransaction, request: Request, now: float, *, is_busy: bool) -> None:
        """An UPDATE; with a description it is an offer like any other."""
        sdp = session_description(request)
        if sdp is None:
            self._dialog.refresh_target(request)
            self._reply_update(transaction, b"", now)
            return
        if self._refuse_collision(transaction, now, is_busy=is_busy):
            return
        self._dialog.refresh_target(request)
        self._theirs = transaction
        self._core.emit(OfferReceived(self._call.handle, sdp, request))

    def handle_prack_offer(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A PRACK with a new offer (RFC 3262 §5); the answer goes into its 200."""
        if self._refuse_collision(transaction, now, is_busy=False):
            return
        self._theirs = transaction
        self._core.emit(OfferReceived(self._call.handle, session_description(request), request))

    def answer_offer(self, sdp: bytes, now: float) -> bool:
        """Answer the peer's open offer, or give it ours where it asked for one; False when none is open."""
        if self._ack_owed is not None:
            invite, self._ack_owed = self._ack_owed, None
            invite.acknowledge(self._dialog, now, sdp)
            self._call.local_sdp = sdp
            return True
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            return False
        self._is_overtaken = True
        self._call.local_sdp = sdp
        self._call.remote_sdp = session_description(theirs.request) or self._call.remote_sdp
        if isinstance(theirs, ServerTransaction):
            self._reply_update(theirs, sdp, now)
            return True
        theirs.accept(sdp, now, self._call.timer.answer(theirs.request, now))
        self._unacknowledged[theirs.cseq] = theirs
        return True

    def refuse_offer(self, code: int, reason: str, now: float) -> bool:
        """Refuse the peer's open offer; the session stays as it was. False when none is open, or none that a response could refuse."""
        if code < 300:
            raise LocalProtocolError(f"a {code} refuses nothing")
        theirs = self._theirs
        if theirs is None:
            return False
        self._theirs = None
        if isinstance(theirs, ServerTransaction):
            self._core.reply(theirs, Reply(code, reason), now)
        else:
            theirs.refuse(code, reason, now)
        return True

    def handle_ack(self, request: Request, now: float) -> bool:
        """An ACK by the dialog; False when it acknowledges nothing of ours."""
        invite = self._unacknowledged.get(request.cseq.number)
        if invite is None:
            return False
        invite.on_ack(request, now)
        return True

    def on_invite_acknowledged(self, invite: ServerInvite, sdp: bytes | None, now: float) -> None:
        del now
        self._unacknowledged.pop(invite.cseq, None)
        if invite.sdp is None:
            self._call.remote_sdp = sdp or self._call.remote_sdp
            self._core.emit(OfferAnswered(self._call.handle, 200, sdp))
        else:
            self._core.emit(OfferAcknowledged(self._call.handle, invite.cseq))

    def on_invite_unacknowledged(self, invite: ServerInvite, now: float) -> None:
        self._unacknowledged.pop(invite.cseq, None)
        self._call.on_no_ack(now)

    def on_invite_cancelled(self, invite: ServerInvite, request: Request, now: float) -> None:
        del request, now
        if self._theirs is invite:
            self._theirs = None

    # -- both ---------------------------------------------------------------------------------------------------------------------------

    def stop(self, now: float) -> None:
        """The call ends: refuse what is open (§15.1.2), stop repeating, acknowledge what still comes."""
        if self._is_stopped:
            return
        if self._ack_owed is not None:
            invite, self._ack_owed = self._ack_owed, None
            invite.acknowledge(self._dialog, now)
        self._is_stopped = True
        self._core.layer.timers.cancel(self._retry)
        if self._ours is not None:
            self._ours.cancel(now)
        for unacknowledged in self._unacknowledged.values():
            unacknowledged.stop()
        self._unacknowledged.clear()
        if self._theirs is not None:
            self.refuse_offer(487, "Request Terminated", now)

    @property
    def _dialog(self) -> Dialog:
        dialog = self._call.dialog
        if dialog is None:
            raise LocalProtocolError("the call has no dialog yet")
        return dialog

    def _refuse_collision(self, transaction: ServerTransaction, now: float, *, is_busy: bool) -> bool:
        if is_busy or self._theirs is not None:
            seconds = int(self._core.randomness.uniform(0, 11))
            self._core.reply(transaction, Reply(500, "Server Internal Error", (("Retry-After", str(seconds)),)), now)
        elif self._ours is not None or self._ack_owed is not None:
            self._core.reply(transaction, Reply(491, "Request Pending"), now)
        else:
            return False
        return True

    def _reply_update(self, transaction: ServerTransaction, sdp: bytes, now: float) -> None:
        """The 200 to an UPDATE, or to a PRACK that had an offer; only the former refreshes target and session."""
        headers: HeaderList = (("Allow", self._core.allow), ("Supported", self._core.supported))
        is_update = transaction.request.method == "UPDATE"
        if is_update and not self._call.is_first_invite_open:
            headers = (*headers, *self._call.timer.answer(transaction.request, now))
        contact_user = self._dialog.contact_user if is_update else None
        self._core.reply(transaction, Reply(200, "OK", headers, sdp, SDP_TYPE, contact_user), now)
