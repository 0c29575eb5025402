"""Place a SIP call: wait for the trunk's call rate, send the INVITE, and after a 488 send a second one without SRTP.

An address and options go in; INVITEs come out. The call counts as a placed call from its start to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError
from active_call.contract.options import CallOption
from active_call.legs.sip.own_headers import sendable
from active_call.legs.sip.ports import LegPort
from active_call.legs.trunks.outbound_guard import Permit
from active_call.legs.trunks.outbound_usage import PlacedCall
from active_call.legs.trunks.policy import PacedCall
from active_call.sip import events as sip
from active_call.sip.endpoint import Endpoint


class Placement:
    """The INVITE of one outbound call. `on_placed` is called with the endpoint's handle for each INVITE sent."""

    def __init__(
        self,
        port: LegPort,
        on_placed: Callable[[sip.CallHandle], None],
        *,
        permit: Permit,
        turn: PacedCall | None,
        placed: PlacedCall | None,
    ) -> None:
        self._port = port
        self._on_placed = on_placed
        self._permit = permit
        self._turn = turn
        self._placed = placed
        self._without_srtp: sip.OutboundInvite | None = None
        """The INVITE for the second try without SRTP."""

    @property
    def is_counted(self) -> bool:
        """Whether it counts among the calls that we place."""
        return self._placed is not None

    async def invite(self, callee: str, option: CallOption, call_id: str) -> None:
        """Place the call when the trunk's rate allows it. Raises ActiveCallError, or LocalProtocolError if it is over or already placed."""
        port = self._port
        addressed = await port.gateway.invitation(callee, self._permit, option)
        invitation = addressed.invitation
        port.media.public_ip, port.media.peer = addressed.own_address, addressed.peer_address
        if self._turn is not None:
            await asyncio.sleep(self._turn.wait_s())
        if port.is_over():
            raise LocalProtocolError("the call was ended before it was placed")
        if port.handle() is not None:
            raise LocalProtocolError("the call is already placed")
        self._without_srtp = invitation.invite if invitation.may_fall_back else None
        port.media.start_over(invitation.takes)
        port.media.limit_silence(option.rtp_timeout)
        self._send(replace(invitation.invite, call_id=call_id or None), srtp=invitation.srtp)

    def _send(self, invite: sip.OutboundInvite, *, srtp: bool) -> None:
        invite = replace(invite, sdp=self._port.media.offer(srtp=srtp), headers=sendable(invite.headers))

        def place(endpoint: Endpoint, now: float) -> None:
            self._on_placed(endpoint.invite(invite, now))  # before it is sent: sending may fail at once, and the end must find its leg

        self._port.gateway.run(place)
        if self._turn is not None:
            self._turn.settle()

    def falls_back(self, event: sip.CallEnded) -> bool:
        """Whether the call continues with a second INVITE: the trunk prefers SRTP but accepts plain RTP, and has answered 488."""
        invite, self._without_srtp = self._without_srtp, None
        if invite is None or (event.cause, event.code) != ("rejected", 488):
            return False
        self._port.gateway.forget(event.call)
        self._port.media.start_over()
        try:
            self._send(invite, srtp=False)
        except LocalProtocolError:
            return False
        return True

    def answered(self) -> None:
        """The callee has answered: count minutes from now on."""
        if self._placed is not None:
            self._placed.answered()

    def close(self) -> None:
        """The call is over. A second call has no effect."""
        if self._turn is not None:
            self._turn.settle()
        if self._placed is not None:
            self._placed.ended()
