"""A SIP leg: one INVITE usage of the endpoint joined to one media stream.

Inbound: made from IncomingCall, then `accept` or `reject`. Outbound: `dial`. What the endpoint tells of the call comes in by `handle`;
what the call wants to know goes out by the sink as `legs.events`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from active_call.base.addresses import parse_address
from active_call.base.errors import ActiveCallError, LocalProtocolError, ParseError
from active_call.contract.options import CallOption
from active_call.legs.events import (
    LegAnswered,
    LegDigit,
    LegEnded,
    LegEvent,
    LegMedia,
    LegMessage,
    LegReady,
    LegRequestRefused,
    LegRinging,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.legs.sip.causes import told_reason, with_reason
from active_call.legs.sip.digits import RELAY_TYPE, read_digit, write_digit
from active_call.legs.sip.hold import Holding
from active_call.legs.sip.identity import header_map
from active_call.legs.sip.media import LegMedia as LegSound
from active_call.legs.sip.own_headers import one_line, sendable
from active_call.legs.sip.plain_text import plain, plain_body
from active_call.legs.trunks.outbound_guard import Permit
from active_call.media.link.messages import Report
from active_call.media.pool.pool import MediaStream, StreamLost
from active_call.sdp.negotiation import Direction, NegotiationError, SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.syntax.grammar import encode_text
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.uri import Uri

if TYPE_CHECKING:
    from active_call.legs.sip.gateway import SipGateway
    from active_call.legs.trunks.outbound_usage import PlacedCall
    from active_call.legs.trunks.policy import TrunkPolicy, Turn

log = logging.getLogger("active_call.sip")

RETRY_AFTER_S = 5
"""What a caller is told who finds us full: calls end all the time."""
READY_WITHOUT_ACK_S = 2.0
"""An ACK that is this late does not keep the agent from speaking; the endpoint goes on waiting for it."""


class SipLeg:
    """One SIP call as the call room sees it."""

    kind = "sip"

    def __init__(
        self,
        gateway: SipGateway,
        sound: LegSound,
        *,
        caller: str,
        callee: str,
        incoming: sip.IncomingCall | None = None,
        trunk: TrunkPolicy | None = None,
        turn: Turn | None = None,
        permit: Permit | None = None,
        placed: PlacedCall | None = None,
    ) -> None:
        self._gateway = gateway
        self._sound = sound
        self._incoming = incoming
        self._policy = trunk
        self._turn = turn
        self._placed = placed
        self.permit = permit or Permit(Uri("sip"))
        self._plain_instead: sip.OutboundInvite | None = None
        self._untold: list[LegEvent] = []
        """What has happened before somebody listened: a CANCEL may come in the same read as its INVITE."""
        self._sink: Callable[[LegEvent], None] = self._untold.append
        self._srtp = False
        self._answered = False
        self._rung = False
        self._last_ringing: LegRinging | None = None
        self._ready = False
        self._is_early = False
        self._ended = False
        self._awaited_ack: int | None = None
        """The CSeq of the last re-INVITE with an offer, while our answer to it is not acknowledged; UDP only."""
        self._holding = Holding(sound, self._send_offer, self._tell)
        self._refer_token: sip.TransactionToken | None = None
        self._referred: PlacedCall | None = None
        """The last REFER, as it counts."""
        self._our_requests: dict[sip.TransactionToken, str] = {}
        self._transfer_request: sip.TransactionToken | None = None
        self._why_ended: tuple[str, str, str] | None = None
        self.handle_name: sip.CallHandle | None = incoming.call if incoming else None
        self.caller = caller
        self.callee = callee
        self.trunk = trunk.name if trunk is not None else ""
        self.call_id = plain(incoming.request.call_id) if incoming else ""
        self.headers: Mapping[str, str] = header_map(incoming.request) if incoming else {}
        self._allowed = _allowed_by(incoming.request) if incoming else frozenset[str]()
        self.offer = _text(incoming.sdp) if incoming else ""
        # Over UDP the source of an INVITE may be anybody's address: its ACK shows that it is the caller's.
        sound.is_proven = incoming is None or incoming.flow.transport != "udp"
        self.replaces = gateway.leg_of(incoming.replaces) if incoming is not None and incoming.replaces is not None else None

    @property
    def stream(self) -> MediaStream | None:
        return self._sound.stream

    @property
    def peer_address(self) -> str:
        return "" if self.handle_name is None else self._gateway.endpoint.peer_address(self.handle_name)

    @property
    def is_placed_by_us(self) -> bool:
        """A call to somebody that is under way, and not about to end."""
        return self._placed is not None and not self._ended and self._why_ended is None

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self._sink = sink
        untold, self._untold = self._untold, []
        for event in untold:
            sink(event)

    @property
    def has_telephone_events(self) -> bool:
        return self._sound.agreement is not None and self._sound.agreement.send_event_type is not None

    @property
    def attended_target(self) -> str:
        if self.handle_name is None or not self._answered or self._ended:
            return ""
        try:
            info = self._gateway.endpoint.dialog_info(self.handle_name)
        except LocalProtocolError:
            return ""  # it has ended; the event is on its way
        replaces = quote(encode_text(f"{info.call_id};to-tag={info.remote_tag};from-tag={info.local_tag}"), safe="")
        return f"{info.remote_target}?Replaces={replaces}&Require=replaces"

    def allows(self, method: str) -> bool:
        return not self._allowed or method in self._allowed

    def speak_from(self, own_address: str, peer: str) -> None:
        """Describe our sound at that address of ours, to a peer at that address of its; before the offer."""
        self._sound.public_ip = own_address
        self._sound.peer = peer

    async def open_media(self, near: MediaStream | None = None) -> MediaStream:
        return await self._sound.open(self._report, near)

    # -- operations

    async def ring(self, *, early_media: bool = False) -> None:
        answer = await self._answer_early() if early_media and self._may_ring and not self._is_early else None
        if not self._may_ring or (self._rung and answer is None):
            return
        self._rung = True
        self._is_early = self._is_early or answer is not None
        if self._gateway.run(lambda endpoint, now: endpoint.ring(self._call, now, sdp=answer)):
            self._tell(LegRinging(early_media=answer is not None, code=180 if answer is None else 183))

    @property
    def _may_ring(self) -> bool:
        return self._incoming is not None and not (self._answered or self._ended)

    async def _answer_early(self) -> bytes | None:
        """The answer that opens the sound before the call is taken; None where the invitation does not allow it."""
        if self._incoming is None or self._incoming.sdp is None:
            return None  # our own offer in a 183 would need PRACK
        await self.open_media()
        if self._is_early or not self._may_ring:
            return None  # overtaken meanwhile
        try:
            return self._sound.answer(self._incoming.sdp, may_send_to=self._is_of_trunk)
        except (NegotiationError, ParseError):
            return None  # what is wrong is told when the call is accepted

    def _is_of_trunk(self, address: str) -> bool:
        """Early media needs no proof where the trunk's own ranges hold its address: nobody else can be made to get it."""
        ip = parse_address(address)
        return ip is not None and self._policy is not None and any(ip in network for network in self._policy.networks)

    async def accept(self, option: CallOption) -> None:
        if self._incoming is None or self._ended:
            raise LocalProtocolError("the call is over already" if self._ended else "only an inbound call can be accepted")
        await self.open_media()
        if self._answered or self._ended:
            raise LocalProtocolError("the call is answered or over already")
        self._sound.limit_silence(option.rtp_timeout)
        try:
            offers_srtp = self._offers_srtp(option, self._incoming.flow.transport)
            answer = self._sound.answer(self._incoming.sdp) if self._incoming.sdp else self._sound.offer(srtp=offers_srtp)
        except (NegotiationError, ParseError) as error:
            code, reason = (488, "Not Acceptable Here") if isinstance(error, NegotiationError) else (400, "Bad session description")
            self._refuse(code, reason, cause="no_media", warning=str(error))
            raise
        headers = sendable((option.sip.headers if option.sip else {}).items())
        if not self._gateway.run(lambda endpoint, now: endpoint.answer(self._call, answer, now, headers=headers)):
            raise LocalProtocolError("the call is answered or over already")
        self._answered = True
        self._tell(LegAnswered(_text(answer)))
        await asyncio.sleep(READY_WITHOUT_ACK_S)
        self._become_ready()

    def _offers_srtp(self, option: CallOption, transport: str) -> bool:
        """Whether our offer to a caller that made none is encrypted; where either would do, keys go by an encrypted transport only."""
        if option.sip is not None and option.sip.enable_srtp is not None:
            return option.sip.enable_srtp
        policy = self._policy.srtp if self._policy is not None else None
        if policy is None:
            return self._gateway.settings.dial_plan.enable_srtp
        return policy is SrtpPolicy.REQUIRED or (policy is SrtpPolicy.PREFERRED and transport in ("tls", "wss"))

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        if self._incoming is not None:
            raise LocalProtocolError("only an outbound call can be placed")
        stream = await self.open_media()
        assert stream.port  # noqa: S101
        invitation = await self._gateway.invitation(self, option)
        if self._turn is not None:
            await asyncio.sleep(self._turn.wait_s())
        if self._ended:
            raise LocalProtocolError("the call was ended before it was placed")
        if self.handle_name is not None:
            raise LocalProtocolError("the call is placed already")
        self._plain_instead = invitation.invite if invitation.may_fall_back else None
        self._sound.start_over(invitation.takes)
        self._sound.limit_silence(option.rtp_timeout)
        self._invite(replace(invitation.invite, call_id=call_id or None), srtp=invitation.srtp)

    def _invite(self, invite: sip.OutboundInvite, *, srtp: bool) -> None:
        self._srtp = srtp
        invite = replace(invite, sdp=self._sound.offer(srtp=srtp), headers=sendable(invite.headers))
        handle = self._gateway.run(lambda endpoint, now: endpoint.invite(invite, now))
        if self._turn is not None:
            self._turn.settle()
        self.handle_name = handle
        self._gateway.adopt(handle, self)
        self.call_id = plain(self._gateway.endpoint.dialog_info(handle).call_id)

    def _falls_back(self, event: sip.CallEnded) -> bool:
        """A trunk that would rather have SRTP but takes plain RTP: its 488 is answered by one plain offer."""
        invite, self._plain_instead = self._plain_instead, None
        if invite is None or self._answered or (event.cause, event.code) != ("rejected", 488) or self._why_ended is not None:
            return False
        self._gateway.forget(event.call)
        self._sound.start_over()
        try:
            self._invite(invite, srtp=False)
        except LocalProtocolError:
            return False
        return True

    def reject(self, code: int, reason: str) -> bool:
        return self._refuse(code, reason, cause="rejected")

    def _refuse(self, code: int, reason: str, *, cause: str, warning: str = "") -> bool:
        """Refuse the call; False when it is answered or over. Raises LocalProtocolError for a code that refuses nothing."""
        if self._ended or self._incoming is None:
            return False
        headers: tuple[tuple[str, str], ...] = (warning_header(warning),) if warning else ()
        line = one_line(reason)
        if code == 503:
            headers += (("Retry-After", str(RETRY_AFTER_S)),)
        before, self._why_ended = self._why_ended, ("system", cause, warning or reason)
        is_refused = False
        try:
            is_refused = self._gateway.run(lambda endpoint, now: endpoint.reject(self._call, code, line, now, headers=headers))
        finally:
            if not is_refused:
                self._why_ended = before
        if not is_refused:
            self._end_if_lost(warning or reason)
        return is_refused

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        if self._ended:
            return
        self._why_ended = self._why_ended or (by, cause, reason)
        if self.handle_name is None:
            self._end(LegEnded(by=by, cause=cause, reason=reason))
            return
        own = sendable(headers.items())
        is_refusal = self._incoming is not None and not self._answered
        own = own if is_refusal else with_reason(dict(own), cause)
        if not self._gateway.run(lambda endpoint, now: endpoint.hang_up(self._call, now, headers=own)):
            self._end_if_lost(reason)

    def _end_if_lost(self, reason: str) -> None:
        """Where the endpoint has no such call any more, the event of its end is on its way, unless it was lost: then this is the end."""
        if self.handle_name is not None and not self._gateway.endpoint.is_alive(self.handle_name):
            asyncio.get_running_loop().call_soon(self.fail, reason)

    def fail(self, reason: str) -> None:
        """Tell the end of the call where nothing else is to come of it: an error of ours, or an end that was lost."""
        by, cause, why = self._why_ended or ("system", "error", reason)
        self._end(LegEnded(by=by, cause=cause, reason=why))

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        self._request("MESSAGE", body.encode(), content_type, headers)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        for digit in digits:
            self._request("INFO", write_digit(digit, duration_ms), RELAY_TYPE, {})

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        self._referred = None if is_own_call else self._gateway.count_transfer(self.trunk)
        try:
            self._refer_token = self._gateway.run(
                lambda endpoint, now: endpoint.refer(self._call, _transfer_uri(target), now, headers=sendable(headers.items()))
            )
        except ActiveCallError:
            self._transfer_not_made()
            raise

    def _transfer_not_made(self) -> None:
        """The peer does not call anybody for us."""
        counted, self._referred = self._referred, None
        if counted is not None:
            self._gateway.usage.withdraw(counted)

    def answer_transfer(self, accepted: bool) -> None:
        token, self._transfer_request = self._transfer_request, None
        if token is not None and not self._ended:
            code, reason = (202, "Accepted") if accepted else (603, "Decline")
            self._gateway.run(lambda endpoint, now: endpoint.respond(token, code, reason, now))

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        if not self._ended and self.handle_name is not None:
            line = one_line(reason)
            self._gateway.run(lambda endpoint, now: endpoint.notify_transfer(self._call, code, line, now, final=final))

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        if not self._ready or self._ended:
            raise LocalProtocolError("the call is not answered yet, or over")
        self._holding.want("sendrecv" if not on_hold else "inactive" if inactive else "sendonly")

    def _send_offer(self, direction: Direction) -> None:
        """A re-INVITE. Raises LocalProtocolError while another offer is open."""
        if self._ended:
            return
        offer = self._sound.offer(srtp=self._is_secured, direction=direction)
        if not self._gateway.run(lambda endpoint, now: endpoint.offer(self._call, offer, now)):
            raise LocalProtocolError("another offer is open, or the call is not answered")

    async def release(self) -> dict[str, float]:
        if self._turn is not None:
            self._turn.settle()
        if self._placed is not None:
            self._placed.ended()
        return await self._sound.close()

    def _request(self, method: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        token = self._gateway.run(
            lambda endpoint, now: endpoint.request(
                self._call, method, now, headers=sendable(headers.items()), body=body, content_type=content_type
            )
        )
        self._our_requests[token] = method

    @property
    def _call(self) -> sip.CallHandle:
        if self.handle_name is None:
            raise LocalProtocolError("the call has not been placed yet")
        return self.handle_name

    # -- what the endpoint tells

    def handle(self, event: sip.SipEvent) -> None:
        """An event of this call."""
        self._take_proof(event)
        match event:
            case sip.CallProgress(response=response, sdp=sdp):
                self._progress(response, sdp)
            case sip.CallAnswered(response=response, sdp=sdp, unreadable_contact=contact):
                if contact:
                    log.warning("contact of an answer cannot be read", extra={"call_id": self.call_id, "contact": plain(contact)})
                self._answered_by_peer(response, sdp)
            case sip.CallConfirmed(sdp=sdp):
                self._confirmed(sdp)
            case sip.OfferReceived(sdp=sdp, request=request):
                self._offered(sdp, request)
            case sip.OfferAnswered(code=code, sdp=sdp):
                if sdp is None or code >= 300 or self._agree(sdp):
                    self._holding.on_answer(code)
            case sip.TransferRequested(token=token, refer_to=refer_to, referred_by=referred_by):
                self._request_transfer(token, refer_to, referred_by)
            case sip.TransferProgress(code=code, reason=reason, final=final):
                self._tell(LegTransferProgress(code, plain(reason), final))
            case sip.RequestCompleted():
                self._completed(event)
            case sip.RequestReceived(token=token, request=request):
                self._requested(token, request)
            case sip.CallEnded():
                if not self._falls_back(event):
                    self._ended_by_endpoint(event)
            case _:
                pass

    def _take_proof(self, event: sip.SipEvent) -> None:
        """Let sound go to the address that was named last, if `event` shows that the peer has our answer.

        After a re-INVITE that is its ACK; after an UPDATE, which has none, whatever the peer asks next.
        """
        if isinstance(event, sip.OfferAcknowledged) and event.cseq == self._awaited_ack:
            self._awaited_ack = None
        if isinstance(event, _PROOFS) and self._awaited_ack is None:
            self._sound.prove()

    def _request_transfer(self, token: sip.TransactionToken, refer_to: str, referred_by: str | None) -> None:
        if self._transfer_request is not None:  # one at a time
            self._gateway.run(lambda endpoint, now: endpoint.respond(token, 491, "Request Pending", now))
            return
        self._transfer_request = token
        self._tell(LegTransferRequested(plain(refer_to), None if referred_by is None else plain(referred_by)))

    def _completed(self, event: sip.RequestCompleted) -> None:
        """A request of ours has its final response; one that the end of the call has cut off has none, and nothing is told."""
        method = self._our_requests.pop(event.token, "")
        is_cut_off = event.code == 487 and event.response is None
        if event.code < 300 or is_cut_off:
            return
        if event.token == self._refer_token:
            self._transfer_not_made()
            self._tell(LegTransferProgress(event.code, plain(event.reason), final=True, refused=True))
        elif method:
            self._tell(LegRequestRefused(method, event.code, plain(event.reason)))

    def _progress(self, response: Response, sdp: bytes | None) -> None:
        if response.code in (180, 181, 182, 183):
            early = sdp is not None and self._agree(sdp)
            ringing = LegRinging(early_media=early, code=response.code)
            if ringing != self._last_ringing:  # some repeat it every minute
                self._last_ringing = ringing
                self._tell(ringing)

    def _confirmed(self, sdp: bytes | None) -> None:
        """The ACK has come; with the answer, where the offer was ours."""
        if sdp is None and self._sound.agreement is None:
            self.hang_up(headers={}, by="system", cause="no_media", reason="the ACK has no session description")
        elif sdp is None or self._agree(sdp):
            self._become_ready()

    def _answered_by_peer(self, response: Response, sdp: bytes | None) -> None:
        self.headers = header_map(response)
        self._allowed = _allowed_by(response)
        if sdp is None and self._sound.agreement is None:
            self.hang_up(headers={}, by="system", cause="no_media", reason="the answer has no session description")
            return
        if sdp is not None and not self._agree(sdp):
            return
        self._answered = True
        if self._placed is not None:
            self._placed.answered()
        self._tell(LegAnswered(_text(sdp)))
        self._become_ready()

    def _agree(self, answer: bytes) -> bool:
        """Take the peer's answer to our offer, or end the call with a reason."""
        try:
            self._sound.accept(answer)
        except ActiveCallError as error:
            self.hang_up(headers={}, by="system", cause="no_media", reason=str(error))
            return False
        return True

    def _become_ready(self) -> None:
        is_going = self._ended or self._why_ended is not None
        if not self._ready and not is_going and self._sound.agreement is not None:
            self._ready = True
            self._tell(LegReady())

    def _offered(self, sdp: bytes | None, request: Request) -> None:
        """A re-INVITE or UPDATE: answered within the call's sound; a hold is told."""
        waits = self._gateway.endpoint.peer_transport(self._call) == "udp"
        is_invite = request.method == "INVITE"
        may_send_to = None if is_invite else self._is_of_trunk  # nothing acknowledges the answer to an UPDATE
        try:
            if sdp is not None:
                answer = self._sound.answer(sdp, may_send_to=may_send_to, waits=waits)
            else:
                answer = self._sound.offer(srtp=self._is_secured)
        except (NegotiationError, ParseError) as error:
            code = 488 if isinstance(error, NegotiationError) else 400
            self._gateway.run(lambda endpoint, now: endpoint.refuse_offer(self._call, code, "Not Acceptable Here", now))
            return
        is_taken = self._gateway.run(lambda endpoint, now: endpoint.answer_offer(self._call, answer, now))
        if waits and is_invite and sdp is not None and is_taken:
            self._awaited_ack = request.cseq.number
        if sdp is not None and is_taken:
            self._holding.on_agreement()

    @property
    def _is_secured(self) -> bool:
        return self._sound.agreement is not None and self._sound.agreement.crypto is not None

    def _requested(self, token: sip.TransactionToken, request: Request) -> None:
        content_type = plain((request.headers.get("Content-Type") or "").partition(";")[0].strip().lower())
        body = plain_body(request.body)
        if request.method == "INFO":
            digit = read_digit(content_type, body)
            if digit:
                self._tell(LegDigit(digit))
        elif request.method == "MESSAGE":
            self._tell(LegMessage(body, content_type or "text/plain"))
        self._gateway.run(lambda endpoint, now: endpoint.respond(token, 200, "OK", now))

    def _ended_by_endpoint(self, event: sip.CallEnded) -> None:
        peer = "caller" if self._incoming is not None else "callee"
        by, cause, reason = self._why_ended or (peer if event.cause in PEER_CAUSES else "system", event.cause, event.reason)
        told, q850 = told_reason(event.message)
        headers = header_map(event.message) if event.message is not None else {}
        code = event.code if event.code is None or event.code >= 300 else None  # a 2xx that has crossed our CANCEL ends nothing
        self._end(LegEnded(by=by, cause=cause, code=code, reason=plain(reason or told), headers=headers, q850=q850))

    def _end(self, event: LegEnded) -> None:
        if not self._ended:
            if self._turn is not None:
                self._turn.settle()
            if self._placed is not None:
                self._placed.ended()
            if self.handle_name is not None:
                self._gateway.forget(self.handle_name)
            self._ended = True
            self._sink(event)

    def _tell(self, event: LegEvent) -> None:
        """Nothing but reports of the stream follows the end."""
        if not self._ended:
            self._sink(event)

    def _report(self, report: Report | StreamLost) -> None:
        self._sink(LegMedia(report))


_PROOFS = (
    sip.CallConfirmed,
    sip.ProvisionalAcknowledged,
    sip.OfferReceived,
    sip.OfferAcknowledged,
    sip.OfferAnswered,
    sip.RequestReceived,
)
"""What only a peer can send that has had our responses: their tag is in it."""
PEER_CAUSES = frozenset({"remote_bye", "cancelled", "rejected"})


def _allowed_by(message: Request | Response) -> frozenset[str]:
    """The methods that the sender takes; empty where it does not say."""
    return frozenset(method.strip().upper() for method in message.headers.split("Allow"))


def _transfer_uri(target: str) -> str:
    """A transfer's target as a URI: a bare number as `tel:`, an address as `sip:`."""
    if ":" in target:
        return target
    return f"sip:{target}" if "@" in target else f"tel:{target}"


def _text(sdp: bytes | None) -> str:
    return plain_body(sdp) if sdp else ""


def warning_header(text: str) -> tuple[str, str]:
    """The Warning that says to people why a call is refused (RFC 3261 §20.43)."""
    return "Warning", f'399 active-call "{one_line(plain(text))[:MAX_WARNING].translate(_UNQUOTED)}"'


MAX_WARNING = 400
"""Characters; what the peer has named is in it, and the response is to fit into one packet."""


_UNQUOTED = str.maketrans({"\\": None, '"': "'"})
