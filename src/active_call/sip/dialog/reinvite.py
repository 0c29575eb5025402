"""Offers inside an established call, ours and the peer's, by re-INVITE and UPDATE (RFC 3261 §14, RFC 3311, RFC 6141).

One offer at a time:

    ours open, theirs arrives   491. If ours gets a 491, it is sent again after 2.1-4 s if we own the Call-ID, else 0-2 s (§14.1).
                                If we answered theirs meanwhile, ours is obsolete, and the leg gets the 491
    two of theirs               500 with Retry-After of 0-10 s (§14.2), also for more than ten a second or many answers without an ACK
    offer in a 2xx (delayed)    the ACK waits for `answer_offer`

Requests and responses of the dialog go in, and the leg's offers and answers. Out come re-INVITE, ACK, OfferReceived, OfferAcknowledged and
OfferAnswered; the `Reply` to a request; a `Decision` if the peer is gone. An UPDATE without a session description gets its 200 here: it
refreshes target or session, and the leg gets no event. Our refresh by re-INVITE repeats our description unchanged. The leg gets an event
only if the peer's answer has changed (RFC 4028 §7.4).
"""

from __future__ import annotations

from active_call.base.errors import LocalProtocolError
from active_call.base.rate import Rate
from active_call.sip.dialog.decisions import Decision, EndCall, peer_is_gone
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_client import ClientInvite
from active_call.sip.dialog.invite_server import ServerInvite, ServerInviteState
from active_call.sip.dialog.ports import DialogPort
from active_call.sip.dialog.provisional import OPTION_TAG, ProvisionalReceiver, rseq_of
from active_call.sip.dialog.session_timer import SessionTimer
from active_call.sip.events import HeaderList, OfferAcknowledged, OfferAnswered, OfferReceived
from active_call.sip.responses import Reply
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timer

_MAX_GLARES = 8
"""After this many collisions in a row one side is broken: the leg gets the 491."""
_MAX_UNACKNOWLEDGED = 4
"""Answers without an ACK at a time. Each is repeated for 32 s, and its ACK may be late, but a peer must not make hundreds of them."""
_MAX_OFFERS_PER_S = 10
"""Each offer changes the media stream, which costs all calls of its process something. People hold and resume more slowly."""
_REINVITE_LIFETIME_S = 64.0
"""No person answers a re-INVITE: without a final response after this time it is cancelled."""


class OfferExchange:
    """See the module."""

    def __init__(self, port: DialogPort, timer: SessionTimer) -> None:
        self._port = port
        self._timer = timer
        self._ours: ClientInvite | None = None
        self._our_sdp: bytes | None = None
        self._our_headers: HeaderList = ()
        self._is_refresh = False
        self._early_answer: bytes | None = None
        self._reliable = ProvisionalReceiver(port)
        self._n_glares = 0
        self._is_overtaken = False
        """We answered an offer of the peer while ours waited for its retry."""
        self._retry: Timer | None = None
        self._ack_owed: ClientInvite | None = None
        self._theirs: ServerInvite | ServerTransaction | None = None
        self._unacknowledged: dict[int, ServerInvite] = {}
        self._is_stopped = False
        self._rate = Rate(_MAX_OFFERS_PER_S)

    # -- ours ---------------------------------------------------------------------------------------------------------------------------

    def offer(self, sdp: bytes | None, headers: HeaderList, now: float) -> bool:
        """Send a re-INVITE; OfferAnswered follows. False while another offer is open or our last answer is not acknowledged."""
        if self._is_taken:
            return False
        self._start(sdp, headers, now, is_refresh=False)
        return True

    def refresh(self, now: float) -> bool:
        """Send a re-INVITE without changes. False while another offer is open."""
        if self._is_taken:
            return False
        self._start(self._port.descriptions.local, (), now, is_refresh=True)
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

    def defer_ack(self, invite: ClientInvite) -> None:
        """The 2xx to `invite` carries the offer: its ACK waits for `answer_offer`."""
        self._ack_owed = invite

    def _headers(self) -> HeaderList:
        """The headers of the next attempt of our re-INVITE."""
        config = self._port.config
        tags = [tag for tag in config.supported if self._our_sdp is not None or tag != OPTION_TAG]
        own = (("Allow", config.allow_header), ("Supported", ", ".join(tags)), *self._timer.request_headers())
        return (*self._our_headers, *own)

    def on_invite_progress(self, invite: ClientInvite, response: Response, now: float) -> None:
        """Acknowledge a reliable one. Its session description is the answer (RFC 3262 §5); the 2xx need not repeat it."""
        if rseq_of(response) is None or self._is_stopped or invite is not self._ours or response.to.tag != self._dialog.remote_tag:
            return
        if self._reliable.is_news(response):
            self._early_answer = session_description(response) or self._early_answer
            self._reliable.acknowledge(self._dialog, response, now)

    def on_invite_success(self, invite: ClientInvite, response: Response, now: float) -> None:
        """Handle a 2xx to our re-INVITE: send the ACK and report the answer to the leg.

        Some B2BUAs answer with another To tag. The transaction matched, so it is the peer; without an ACK it would end the call after 32 s.
        """
        dialog = self._dialog
        dialog.refresh_target(response)
        if self._is_stopped or invite is not self._ours:
            invite.acknowledge(dialog, now)
            return
        self._ours = None
        self._timer.take_response(response, now)
        sdp = session_description(response) or self._early_answer
        if self._our_sdp is None and sdp is not None:
            self.defer_ack(invite)
        else:
            invite.acknowledge(dialog, now)
            self._port.descriptions.local = self._our_sdp or self._port.descriptions.local
        if not self._is_refresh or (sdp is not None and sdp != self._port.descriptions.remote):
            self._port.emit(OfferAnswered(self._port.handle, response.code, sdp))
        self._port.descriptions.remote = sdp or self._port.descriptions.remote

    def on_invite_failure(self, invite: ClientInvite, code: int, reason: str, response: Response | None, now: float) -> Decision:
        """Handle a failure: retry, report it to the leg, or end the call if the peer is gone."""
        if self._is_stopped or invite is not self._ours:
            return None
        self._ours = None
        if code == 491 and self._n_glares < _MAX_GLARES:
            self._n_glares += 1
            low, high = (2.1, 4.0) if self._dialog.is_ours else (0.0, 2.0)
            self._retry = self._port.set_timer(now + self._port.randomness.uniform(low, high), self._on_retry)
        elif code in (408, 481) or response is None:
            return peer_is_gone(code, reason, response)
        elif code == 422 and self._timer.take_422(response):
            self._send(now)
        elif self._is_refresh:
            self._timer.on_refresh_refused(now)
        else:
            self._port.emit(OfferAnswered(self._port.handle, code, None))
        return None

    def _on_retry(self, now: float) -> Decision:
        if self._is_stopped:
            return None
        if self._theirs is not None or self._ack_owed is not None:
            self._retry = self._port.set_timer(now + self._port.config.t1_s, self._on_retry)
        elif self._is_overtaken and not self._is_refresh:
            self._port.emit(OfferAnswered(self._port.handle, 491, None))
        else:
            self._send(now)
        return None

    def _send(self, now: float) -> None:
        self._early_answer = None
        if self._is_refresh:
            self._our_sdp = self._port.descriptions.local  # we may have answered an offer of the peer since the first attempt
        self._ours = self._port.send_invite(self._headers, self._our_sdp, _REINVITE_LIFETIME_S, now)

    # -- theirs -------------------------------------------------------------------------------------------------------------------------

    def handle_invite(self, transaction: ServerTransaction, request: Request, now: float, *, is_busy: bool) -> Reply | None:
        """Handle a re-INVITE: returns its refusal, or None if the leg decides.

        `is_busy`: the first INVITE of the call is not answered yet.
        """
        is_busy = is_busy or len(self._unacknowledged) >= _MAX_UNACKNOWLEDGED
        refusal = self._collision(is_busy=is_busy) or self._excess(now)
        if refusal is not None:
            return refusal
        self._port.respond(transaction, Reply(100, "Trying"), now)
        self._dialog.refresh_target(request)
        invite = ServerInvite(self._port, transaction, self, self._dialog.contact_user)
        self._theirs = invite
        self._port.emit(OfferReceived(self._port.handle, invite.sdp, request))
        return None

    def handle_update(self, transaction: ServerTransaction, request: Request, now: float, *, is_busy: bool) -> Reply | None:
        """Handle an UPDATE. With a session description it is an offer. Returns its response, or None if the leg decides."""
        sdp = session_description(request)
        if sdp is None:
            self._dialog.refresh_target(request)
            return self._update_reply(request, b"", now)
        refusal = self._collision(is_busy=is_busy) or self._excess(now)
        if refusal is not None:
            return refusal
        self._dialog.refresh_target(request)
        self._theirs = transaction
        self._port.emit(OfferReceived(self._port.handle, sdp, request))
        return None

    def handle_prack_offer(self, transaction: ServerTransaction, request: Request) -> Reply | None:
        """Handle a PRACK with a new offer (RFC 3262 §5): returns its refusal, or None if the leg decides. Its 200 carries the answer."""
        refusal = self._collision(is_busy=False)
        if refusal is None:
            self._theirs = transaction
            self._port.emit(OfferReceived(self._port.handle, session_description(request), request))
        return refusal

    def answer_offer(self, sdp: bytes, now: float) -> bool:
        """Answer the peer's open offer, or send our offer if the peer asked for one. False if none is open."""
        if self._ack_owed is not None:
            invite, self._ack_owed = self._ack_owed, None
            invite.acknowledge(self._dialog, now, sdp)
            self._port.descriptions.local = sdp
            return True
        theirs, self._theirs = self._theirs, None
        if theirs is None:
            return False
        self._is_overtaken = True
        self._port.descriptions.local = sdp
        self._port.descriptions.remote = session_description(theirs.request) or self._port.descriptions.remote
        if isinstance(theirs, ServerTransaction):
            self._port.respond(theirs, self._update_reply(theirs.request, sdp, now), now)
            return True
        theirs.accept(sdp, now, self._timer.answer(theirs.request, now))
        self._unacknowledged[theirs.cseq] = theirs
        return True

    def refuse_offer(self, code: int, reason: str, now: float, headers: HeaderList = ()) -> bool:
        """Refuse the peer's open offer; the session does not change. False if none is open or no response can refuse it."""
        if code < 300:
            raise LocalProtocolError(f"code {code} cannot refuse an offer")
        theirs = self._theirs
        if theirs is None:
            return False
        self._theirs = None
        if isinstance(theirs, ServerTransaction):
            self._port.respond(theirs, Reply(code, reason, headers), now)
        else:
            theirs.refuse(code, reason, now, headers)
        return True

    def handle_ack(self, request: Request, now: float) -> bool:
        """Handle an ACK matched by dialog. False if it acknowledges none of our responses."""
        invite = self._unacknowledged.get(request.cseq.number)
        if invite is None:
            return False
        invite.on_ack(request, now)
        return True

    def on_invite_acknowledged(self, invite: ServerInvite, sdp: bytes | None, now: float) -> None:
        """The ACK has arrived. `sdp` is the answer if our 2xx carried the offer."""
        del now
        self._unacknowledged.pop(invite.cseq, None)
        if invite.sdp is None:
            self._port.descriptions.remote = sdp or self._port.descriptions.remote
            self._port.emit(OfferAnswered(self._port.handle, 200, sdp))
        else:
            self._port.emit(OfferAcknowledged(self._port.handle, invite.cseq))

    def on_invite_unacknowledged(self, invite: ServerInvite, now: float) -> Decision:
        """No ACK within 64*T1: the call ends (RFC 3261 §14.2)."""
        del now
        self._unacknowledged.pop(invite.cseq, None)
        return EndCall("no_ack")

    def on_invite_cancelled(self, invite: ServerInvite, request: Request, now: float) -> None:
        """The peer has cancelled its offer."""
        del request, now
        if self._theirs is invite:
            self._theirs = None

    # -- both ---------------------------------------------------------------------------------------------------------------------------

    def stop(self, now: float) -> None:
        """The call ends: refuse open offers (§15.1.2), stop repeating, acknowledge late 2xx."""
        if self._is_stopped:
            return
        if self._ack_owed is not None:
            invite, self._ack_owed = self._ack_owed, None
            invite.acknowledge(self._dialog, now)
        self._is_stopped = True
        self._port.cancel_timer(self._retry)
        if self._ours is not None:
            self._ours.cancel(now)
        for unacknowledged in self._unacknowledged.values():
            unacknowledged.stop()
        self._unacknowledged.clear()
        if self._theirs is not None:
            self.refuse_offer(487, "Request Terminated", now)

    @property
    def _dialog(self) -> Dialog:
        dialog = self._port.dialog
        if dialog is None:
            raise LocalProtocolError("the call has no dialog yet")
        return dialog

    def _collision(self, *, is_busy: bool) -> Reply | None:
        """The refusal of an offer while another one is open (RFC 3261 §14.2); None if none is open."""
        if is_busy or self._theirs is not None:
            return self._not_now()
        if self._ours is not None or self._ack_owed is not None:
            return Reply(491, "Request Pending")
        return None

    def _excess(self, now: float) -> Reply | None:
        """The refusal of an offer beyond `_MAX_OFFERS_PER_S`; None if it may pass."""
        return None if self._rate.take(now) else self._not_now()

    def _not_now(self) -> Reply:
        seconds = int(self._port.randomness.uniform(0, 11))
        return Reply(500, "Server Internal Error", (("Retry-After", str(seconds)),))

    def _update_reply(self, request: Request, sdp: bytes, now: float) -> Reply:
        """The 200 to an UPDATE or to a PRACK with an offer. Only an UPDATE refreshes target and session."""
        config = self._port.config
        headers: HeaderList = (("Allow", config.allow_header), ("Supported", config.supported_header))
        is_update = request.method == "UPDATE"
        if is_update and not self._port.is_first_invite_open:
            headers = (*headers, *self._timer.answer(request, now))
        return Reply(200, "OK", headers, sdp, SDP_TYPE, self._dialog.contact_user if is_update else None)
