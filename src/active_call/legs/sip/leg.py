"""A SIP leg: one INVITE usage of the endpoint connected to one media stream.

Inbound: created from IncomingCall, then `accept` or `reject`. Outbound: `dial`. The gateway passes the endpoint's events to `handle`. The
leg sends events (`legs.events`) to the call through its sink. Its parts handle what happens inside the call: `offers`, `transfers`,
`requests`. `placing` sends the INVITE of an outbound call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from active_call.base.addresses import parse_address
from active_call.base.errors import ActiveCallError, LocalProtocolError, MediaError, ParseError
from active_call.base.weakly import weakly
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegEvent, LegMedia, LegReady, LegRinging
from active_call.legs.leg import Leg
from active_call.legs.signalling import SignallingMessage
from active_call.legs.sip.causes import FAILURES, peer_reason, warning_header, with_reason
from active_call.legs.sip.identity import allowed_methods, header_map
from active_call.legs.sip.media import SipMedia
from active_call.legs.sip.offers import DialogOffers
from active_call.legs.sip.own_headers import one_line, sendable
from active_call.legs.sip.placing import Placement
from active_call.legs.sip.plain_text import plain, plain_body
from active_call.legs.sip.ports import GatewayPort, LegPort
from active_call.legs.sip.requests import DialogRequests
from active_call.legs.sip.transfers import DialogTransfers
from active_call.legs.trunks.outbound_guard import Permit
from active_call.legs.trunks.outbound_usage import PlacedCall
from active_call.legs.trunks.policy import PacedCall, TrunkPolicy
from active_call.media.link.messages import Report
from active_call.media.pool.pool import MediaStream, StreamLost
from active_call.sdp.negotiation import NegotiationError, SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.syntax.message import Response
from active_call.sip.syntax.uri import Uri

log = logging.getLogger("active_call.sip")

RETRY_AFTER_S = 5
"""Retry-After for a caller if the server is full. Short, because calls end all the time."""
READY_WITHOUT_ACK_S = 2.0
"""The agent may speak this long after our 200 even without the ACK. The endpoint keeps waiting for the ACK."""
PEER_CAUSES = frozenset({"remote_bye", "cancelled", "rejected"})
"""Causes of an end by the peer."""


class SipLeg:
    """One SIP call. It has every ability of `legs.abilities`."""

    kind = "sip"

    def __init__(
        self,
        gateway: GatewayPort,
        media: SipMedia,
        *,
        caller: str,
        callee: str,
        incoming: sip.IncomingCall | None = None,
        trunk: TrunkPolicy | None = None,
        turn: PacedCall | None = None,
        permit: Permit | None = None,
        placed: PlacedCall | None = None,
    ) -> None:
        self._gateway = gateway
        self._media = media
        self._incoming = incoming
        self._policy = trunk
        self._early_events: list[LegEvent] = []
        """Events before `attach`: a CANCEL may arrive in the same read as its INVITE."""
        self._sink: Callable[[LegEvent], None] = self._early_events.append
        self._answered = False
        self._rung = False
        self._last_ringing: LegRinging | None = None
        self._ready = False
        self._ready_timer: asyncio.TimerHandle | None = None
        """Fires if no ACK arrives."""
        self._is_early = False
        self._is_answerable = False
        self._early_answers: dict[str, bytes] = {}
        """The peer's answers in provisional responses, by remote tag."""
        self._has_checked_place = False
        self._ended = False
        self._why_ended: tuple[str, str, str] | None = None
        """`by`, `cause` and `reason` if we ended the call."""
        self.call_handle: sip.CallHandle | None = incoming.call if incoming else None
        # The parts of a leg do not keep it alive.
        port = LegPort(gateway, media, weakly(self._handle, _none), weakly(self._emit, _none), weakly(self._is_over, _true))
        self._port = port
        self._placement = Placement(port, weakly(self._placed_as, _none), permit=permit or Permit(Uri("sip")), turn=turn, placed=placed)
        self._offers = DialogOffers(port, weakly(self._is_of_trunk, _false))
        self._transfers = DialogTransfers(port, trunk.refer_headers if trunk is not None else ())
        self._requests = DialogRequests(port)
        self.caller = caller
        self.callee = callee
        self.trunk = trunk.name if trunk is not None else ""
        self.call_id = plain(incoming.request.call_id) if incoming else ""
        self._trace = gateway.trace.new_trace()
        if incoming is not None:
            gateway.trace.follow(self._trace, incoming.request.call_id)
        self.headers: Mapping[str, str] = header_map(incoming.request) if incoming else {}
        self._allowed = allowed_methods(incoming.request) if incoming else frozenset[str]()
        self.offer = _text(incoming.sdp) if incoming else ""
        # Over UDP the source address of an INVITE may be forged. The ACK proves that the address is the caller's.
        media.is_proven = incoming is None or incoming.flow.transport != "udp"
        self.replaces: Leg | None = gateway.leg_of(incoming.replaces) if incoming is not None and incoming.replaces is not None else None

    @property
    def stream(self) -> MediaStream | None:
        """See `legs.leg.Leg`; the same applies to the following methods."""
        return self._media.stream

    @property
    def peer_address(self) -> str:
        return "" if self.call_handle is None else self._gateway.endpoint.peer_address(self.call_handle)

    @property
    def media_place(self) -> tuple[str, str, int] | None:
        """See `ports.InviteUsage`."""
        return self._media.place

    @property
    def is_placed_by_us(self) -> bool:
        """Whether we have placed the call and it is not about to end."""
        return self._placement.is_counted and not self._ended and self._why_ended is None

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self._sink = sink
        early, self._early_events = self._early_events, []
        for event in early:
            sink(event)

    @property
    def has_telephone_events(self) -> bool:
        return self._media.agreement is not None and self._media.agreement.send_event_type is not None

    @property
    def attended_target(self) -> str:
        return self._transfers.attended_target() if self._answered and not self._ended else ""

    @property
    def dialog_tags(self) -> tuple[str, str]:
        return self._transfers.dialog_tags()

    def allows(self, method: str) -> bool:
        return not self._allowed or method in self._allowed

    async def open_media(self, near: MediaStream | None = None) -> MediaStream:
        return await self._media.open(self._report, near)

    # -- an inbound call

    async def ring(self, *, early_media: bool = False) -> None:
        if not await self._can_be_answered():
            return
        answer = await self._answer_early() if early_media and not self._is_early else None
        if not self._may_ring or (self._rung and answer is None):
            return
        self._rung = True
        self._is_early = self._is_early or answer is not None
        if self._gateway.run(lambda endpoint, now: endpoint.ring(self._port.call, now, sdp=answer)):
            self._emit(LegRinging(early_media=answer is not None, code=180 if answer is None else 183))

    async def _can_be_answered(self) -> bool:
        """Whether there is capacity for the call's media and its offer is acceptable. If not, refuse now, before a 180 is sent."""
        if self._incoming is None or not self._may_ring or self._is_answerable:
            return self._may_ring
        try:
            await self.open_media()
            if self._incoming.sdp and self._may_ring:
                self._media.prepare(self._incoming.sdp)
        except MediaError as error:
            if self._may_ring:
                self._refuse(503, "Service Unavailable", cause="no_media", warning=str(error))
            return False
        except (NegotiationError, ParseError) as error:
            self._refuse_offer(error)
            return False
        self._is_answerable = True
        self._check_calls_at_place()
        return self._may_ring

    def _check_calls_at_place(self) -> None:
        """Once, as soon as the peer's media address is known."""
        if not self._has_checked_place and self.media_place is not None:
            self._has_checked_place = True
            self._gateway.check_calls_at_place_of(self)

    def _refuse_offer(self, error: NegotiationError | ParseError) -> None:
        """Refuse the peer's session description."""
        code, reason = (488, "Not Acceptable Here") if isinstance(error, NegotiationError) else (400, "Bad session description")
        self._refuse(code, reason, cause="no_media", warning=str(error))

    @property
    def _may_ring(self) -> bool:
        return self._incoming is not None and not (self._answered or self._ended)

    async def _answer_early(self) -> bytes | None:
        """The SDP answer for a 183; None if the INVITE allows none."""
        if self._incoming is None or self._incoming.sdp is None:
            return None  # our own offer in a 183 would need PRACK
        await self.open_media()
        if self._is_early or not self._may_ring:
            return None  # answered or ended meanwhile
        try:
            return self._media.answer(self._incoming.sdp, may_send_to=self._is_of_trunk)
        except (NegotiationError, ParseError):
            return None  # `accept` reports the error

    def _is_of_trunk(self, address: str) -> bool:
        """Whether an address is in the trunk's ranges. Early media to it needs no proof, because it cannot hit a third party."""
        ip = parse_address(address)
        return ip is not None and self._policy is not None and any(ip in network for network in self._policy.networks)

    async def accept(self, option: CallOption) -> None:
        if self._incoming is None or self._ended:
            raise LocalProtocolError("the call is already over" if self._ended else "only an inbound call can be accepted")
        await self.open_media()
        if self._answered or self._ended:
            raise LocalProtocolError("the call is already answered or over")
        self._media.limit_silence(option.rtp_timeout)
        try:
            offers_srtp = self._offers_srtp(option, self._incoming.flow.transport)
            answer = self._media.answer(self._incoming.sdp) if self._incoming.sdp else self._media.offer(srtp=offers_srtp)
        except (NegotiationError, ParseError) as error:
            self._refuse_offer(error)
            raise
        self._check_calls_at_place()
        headers = sendable((option.sip.headers if option.sip else {}).items())
        if not self._gateway.run(lambda endpoint, now: endpoint.answer(self._port.call, answer, now, headers=headers)):
            raise LocalProtocolError("the call is already answered or over")
        self._answered = True
        self._emit(LegAnswered(_text(answer)))
        self._offers.report_hold()
        self._ready_timer = asyncio.get_running_loop().call_later(READY_WITHOUT_ACK_S, self._become_ready)

    def _offers_srtp(self, option: CallOption, transport: str) -> bool:
        """Whether our offer uses SRTP if the INVITE had none. A trunk that accepts both gets SRTP if signalling hides the keys (TLS)."""
        if option.sip is not None and option.sip.enable_srtp is not None:
            return option.sip.enable_srtp
        policy = self._policy.srtp if self._policy is not None else None
        if policy is None:
            return self._gateway.offers_srtp
        return policy is SrtpPolicy.REQUIRED or (policy is SrtpPolicy.PREFERRED and transport in ("tls", "wss"))

    def reject(self, code: int, reason: str) -> bool:
        return self._refuse(code, reason, cause="rejected")

    def _refuse(self, code: int, reason: str, *, cause: str, warning: str = "") -> bool:
        """Refuse the call. False if it is answered or over. Raises LocalProtocolError for a code that is not a refusal."""
        if self._ended or self._incoming is None:
            return False
        headers: tuple[tuple[str, str], ...] = (warning_header(warning),) if warning else ()
        line = one_line(reason)
        if code == 503:
            headers += (("Retry-After", str(RETRY_AFTER_S)),)
        before, self._why_ended = self._why_ended, ("system", cause, warning or reason)
        is_refused = False
        try:
            is_refused = self._gateway.run(lambda endpoint, now: endpoint.reject(self._port.call, code, line, now, headers=headers))
        finally:
            if not is_refused:
                self._why_ended = before
        if not is_refused:
            self._end_if_lost(warning or reason)
        return is_refused

    # -- outbound call

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        if self._incoming is not None:
            raise LocalProtocolError("only an outbound call can be placed")
        await self.open_media()
        await self._placement.invite(self.callee, option, call_id)

    def _placed_as(self, handle: sip.CallHandle) -> None:
        """An INVITE was sent."""
        self.call_handle = handle
        self._gateway.adopt(handle, self)
        call_id = self._gateway.endpoint.dialog_info(handle).call_id
        self.call_id = plain(call_id)
        self._gateway.trace.follow(self._trace, call_id)

    # -- inside the call

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        self._requests.send_message(body, content_type, headers)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        self._requests.send_digits(digits, duration_ms)

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        self._transfers.refer(target, headers, counts_for=None if is_own_call else self.trunk)

    def answer_transfer(self, accepted: bool) -> None:
        self._transfers.answer(accepted)

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        self._transfers.notify(code, reason, final=final)

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        if not self._ready or self._ended:
            raise LocalProtocolError("the call is not answered yet, or over")
        self._offers.hold("sendrecv" if not on_hold else "inactive" if inactive else "sendonly")

    # -- the end

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        if self._ended:
            return
        is_refusal = self._incoming is not None and not self._answered
        if is_refusal and cause in FAILURES and self._refuse(503, "Service Unavailable", cause=cause, warning=reason):
            return  # 603 would tell the carrier to try no other server (RFC 3261 §21.6.2)
        self._why_ended = self._why_ended or (by, cause, reason)
        if self.call_handle is None:
            self._end(LegEnded(by=by, cause=cause, reason=reason))
            return
        own = sendable(headers.items())
        own = own if is_refusal else with_reason(dict(own), cause)
        if not self._gateway.run(lambda endpoint, now: endpoint.hang_up(self._port.call, now, headers=own)):
            self._end_if_lost(reason)

    def _end_if_lost(self, reason: str) -> None:
        """If the endpoint no longer has the call, its CallEnded is pending or was lost. If it was lost, end the leg here."""
        if self.call_handle is not None and not self._gateway.endpoint.is_alive(self.call_handle):
            asyncio.get_running_loop().call_soon(self.fail, reason)

    def fail(self, reason: str) -> None:
        """Report the end of the call if no other event will: after an internal error, or if CallEnded was lost."""
        by, cause, why = self._why_ended or ("system", "error", reason)
        self._end(LegEnded(by=by, cause=cause, reason=why))

    async def release(self) -> dict[str, float]:
        self._placement.close()
        try:
            return await self._media.close()
        finally:
            self._trace.close()

    def signalling(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """See `abilities.KeepsSignalling`."""
        return self._trace.messages(whole=whole)

    # -- events of the endpoint

    def handle(self, event: sip.SipEvent) -> None:
        """Handle an event of this call."""
        self._offers.take_proof(event)
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
                self._offers.received(sdp, request)
            case sip.OfferAnswered(code=code, sdp=sdp):
                if sdp is None or code >= 300 or self._agree(sdp):
                    self._offers.answered(code)
            case sip.TransferRequested():
                self._transfers.requested(event)
            case sip.TransferProgress():
                self._transfers.progress(event)
            case sip.RequestCompleted():
                self._completed(event)
            case sip.RequestReceived(token=token, request=request):
                self._requests.received(token, request)
            case sip.CallEnded():
                may_go_on = not self._answered and self._why_ended is None
                if not (may_go_on and self._placement.falls_back(event)):
                    self._ended_by_endpoint(event)
            case _:
                pass

    def _completed(self, event: sip.RequestCompleted) -> None:
        """Our request has its final response. A request cut off by the end of the call has none, which is not reported."""
        method = self._requests.completed(event)
        is_cut_off = event.code == 487 and event.response is None
        if event.code < 300 or is_cut_off or self._transfers.is_refused_by(event):
            return
        if method:
            self._requests.refused(method, event)

    def _progress(self, response: Response, sdp: bytes | None) -> None:
        if response.code in (180, 181, 182, 183):
            early = sdp is not None and self._agree(sdp)
            if early and sdp is not None:
                self._early_answers[response.to.tag or ""] = sdp
            ringing = LegRinging(early_media=early, code=response.code)
            if ringing != self._last_ringing:  # some peers repeat it every minute
                self._last_ringing = ringing
                self._emit(ringing)

    def _confirmed(self, sdp: bytes | None) -> None:
        """The ACK has arrived, with the answer if the offer was ours."""
        if sdp is None and self._media.agreement is None:
            self.hang_up(headers={}, by="system", cause="no_media", reason="the ACK has no session description")
        elif sdp is None or self._agree(sdp):
            self._offers.report_hold()
            self._become_ready()

    def _answered_by_peer(self, response: Response, sdp: bytes | None) -> None:
        self.headers = header_map(response)
        self._allowed = allowed_methods(response)
        if sdp is None and self._media.agreement is None:
            self.hang_up(headers={}, by="system", cause="no_media", reason="the answer has no session description")
            return
        if sdp is not None and not self._agree(sdp):
            return
        self._answered = True
        self._placement.answered()
        answer = sdp or self._early_answers.get(response.to.tag or "")  # a 2xx need not repeat the answer of a reliable 183 (RFC 3262 §5)
        self._emit(LegAnswered(_text(answer)))
        self._offers.report_hold()
        self._become_ready()

    def _agree(self, answer: bytes) -> bool:
        """Take the peer's answer to our offer, or end the call with a reason."""
        try:
            self._media.accept(answer)
        except ActiveCallError as error:
            self.hang_up(headers={}, by="system", cause="no_media", reason=str(error))
            return False
        self._check_calls_at_place()
        return True

    def _become_ready(self) -> None:
        is_going = self._ended or self._why_ended is not None
        if not self._ready and not is_going and self._media.agreement is not None:
            self._ready = True
            self._stop_waiting_for_ack()
            self._emit(LegReady())

    def _stop_waiting_for_ack(self) -> None:
        if self._ready_timer is not None:
            self._ready_timer.cancel()
            self._ready_timer = None

    def _ended_by_endpoint(self, event: sip.CallEnded) -> None:
        peer = "caller" if self._incoming is not None else "callee"
        by, cause, reason = self._why_ended or (peer if event.cause in PEER_CAUSES else "system", event.cause, event.reason)
        told, q850 = peer_reason(event.message)
        headers = header_map(event.message) if event.message is not None else {}
        code = event.code if event.code is None or event.code >= 300 else None  # a 2xx that crossed our CANCEL is not the cause
        self._end(LegEnded(by=by, cause=cause, code=code, reason=plain(reason or told), headers=headers, q850=q850))

    def _end(self, event: LegEnded) -> None:
        if not self._ended:
            self._stop_waiting_for_ack()
            self._placement.close()
            if self.call_handle is not None:
                self._gateway.forget(self.call_handle)
            self._trace.end()
            self._ended = True
            self._sink(event)

    def _emit(self, event: LegEvent) -> None:
        """Emit an event. After the end, only reports of the stream are emitted."""
        if not self._ended:
            self._sink(event)

    def _report(self, report: Report | StreamLost) -> None:
        self._sink(LegMedia(report))

    def _handle(self) -> sip.CallHandle | None:
        return self.call_handle

    def _is_over(self) -> bool:
        return self._ended


def _none(_: object = None) -> None:
    """For what comes after the end of a leg."""


def _true() -> bool:
    return True


def _false(_: str) -> bool:
    return False


def _text(sdp: bytes | None) -> str:
    return plain_body(sdp) if sdp else ""
