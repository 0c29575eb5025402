"""Offers inside a SIP call (re-INVITE, UPDATE; RFC 3264 §8): answer the peer's, and put the peer on hold by ours.

The peer's offers go in and answers come out. This module tracks whether the peer has proved that it received our last answer. Only then may
media be sent to an address that is new in the call.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.base.weakly import weakly
from active_call.legs.sip.causes import warning_header
from active_call.legs.sip.hold import Holding
from active_call.legs.sip.ports import LegPort
from active_call.sdp.negotiation import Direction, NegotiationError
from active_call.sip import events as sip
from active_call.sip.syntax.message import Request

PROOFS = (
    sip.CallConfirmed,
    sip.ProvisionalAcknowledged,
    sip.OfferReceived,
    sip.OfferAcknowledged,
    sip.OfferAnswered,
    sip.RequestReceived,
)
"""Events that prove that the peer received our responses, because they contain the tag of these."""


class DialogOffers:
    """The offers of one call. `is_of_trunk` decides whether an address is in the trunk's ranges, which need no proof."""

    def __init__(self, port: LegPort, is_of_trunk: Callable[[str], bool]) -> None:
        self._port = port
        self._is_of_trunk = is_of_trunk
        self._awaited_ack: int | None = None
        """CSeq of the last re-INVITE with an offer while our answer to it is not acknowledged; UDP only."""
        self._holding = Holding(port.media, weakly(self._send, lambda _: None), port.emit)

    @property
    def is_secured(self) -> bool:
        """Whether SRTP is negotiated."""
        agreement = self._port.media.agreement
        return agreement is not None and agreement.crypto is not None

    def hold(self, direction: Direction) -> None:
        """Offer `direction`; LegHoldAnswered follows."""
        self._holding.want(direction)

    def report_hold(self) -> None:
        """The first offer/answer is complete: report hold, because a call may begin on hold."""
        self._holding.on_agreement()

    def take_proof(self, event: sip.SipEvent) -> None:
        """Allow media to the last negotiated address if `event` proves that the peer has our answer.

        For a re-INVITE the ACK proves it. An UPDATE has no ACK: the peer's next request proves it.
        """
        if isinstance(event, sip.OfferAcknowledged) and event.cseq == self._awaited_ack:
            self._awaited_ack = None
        if isinstance(event, PROOFS) and self._awaited_ack is None:
            self._port.media.prove()

    def received(self, sdp: bytes | None, request: Request) -> None:
        """Handle a re-INVITE or UPDATE of the peer: answer it, or refuse it with 488 and a Warning (RFC 3261 §14.2). Report a hold."""
        port = self._port
        waits = port.gateway.endpoint.peer_transport(port.call) == "udp"
        is_invite = request.method == "INVITE"
        may_send_to = None if is_invite else self._is_of_trunk  # nothing acknowledges the answer to an UPDATE
        try:
            if sdp is not None:
                answer = port.media.answer(sdp, may_send_to=may_send_to, waits=waits)
            else:
                answer = port.media.offer(srtp=self.is_secured)
        except (NegotiationError, ParseError) as error:
            headers = (warning_header(str(error)),)
            port.gateway.run(lambda endpoint, now: endpoint.refuse_offer(port.call, 488, "Not Acceptable Here", now, headers=headers))
            return
        is_taken = port.gateway.run(lambda endpoint, now: endpoint.answer_offer(port.call, answer, now))
        if waits and is_invite and sdp is not None and is_taken:
            self._awaited_ack = request.cseq.number
        if sdp is not None and is_taken:
            self._holding.on_agreement()

    def answered(self, code: int) -> None:
        """The peer has answered our offer with this final code. For a 2xx its SDP has been taken."""
        self._holding.on_answer(code)

    def _send(self, direction: Direction) -> None:
        """Send a re-INVITE. Raises LocalProtocolError during another offer."""
        port = self._port
        if port.is_over():
            return
        offer = port.media.offer(srtp=self.is_secured, direction=direction)
        if not port.gateway.run(lambda endpoint, now: endpoint.offer(port.call, offer, now)):
            raise LocalProtocolError("another offer is open, or the call is not answered")
