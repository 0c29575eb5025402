"""What a SIP leg needs of the gateway, what the gateway needs of a leg, and what the parts of a leg need of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from active_call.base.errors import LocalProtocolError
from active_call.contract.options import CallOption
from active_call.legs.events import LegEvent
from active_call.legs.leg import Leg
from active_call.legs.sip.dialling import Invitation
from active_call.legs.sip.media import SipMedia
from active_call.legs.sip.trace.log import SipTrace
from active_call.legs.trunks.outbound_guard import Permit
from active_call.legs.trunks.outbound_usage import PlacedCall
from active_call.sip import events as sip
from active_call.sip.endpoint import Endpoint

T = TypeVar("T")


class InviteUsage(Leg, Protocol):
    """A leg as the gateway sees it: one INVITE usage of the endpoint."""

    @property
    def is_placed_by_us(self) -> bool:
        """A call that we place or have placed, and that is not about to end."""
        ...

    def handle(self, event: sip.SipEvent) -> None:
        """Take an event of this call."""
        ...

    def fail(self, reason: str) -> None:
        """Tell the end of the call after an error of ours, when no other end will come."""
        ...


@dataclass(frozen=True, slots=True)
class AddressedInvitation:
    """An INVITE that is ready but for its SDP, and the two addresses that the SDP needs."""

    invitation: Invitation
    own_address: str
    """The address of ours that the callee sees."""
    peer_address: str


class RequestPort(Protocol):
    """The gateway as it is seen by those who send requests outside of calls: registrations and the trunk watch."""

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Do something with the endpoint now, and send what results from it."""
        ...

    def own_address_for(self, host: str) -> str:
        """The address of ours that `host` sees."""
        ...


class GatewayPort(Protocol):
    """The gateway as one leg sees it."""

    @property
    def endpoint(self) -> Endpoint:
        """For questions; operations go through `run`."""
        ...

    @property
    def trace(self) -> SipTrace:
        """Keeps the messages of the calls."""
        ...

    @property
    def offers_srtp(self) -> bool:
        """Whether our own offers use SRTP, where neither the trunk nor the call says otherwise."""
        ...

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Do something with the endpoint now, and send what results from it."""
        ...

    def adopt(self, handle: sip.CallHandle, leg: InviteUsage) -> None:
        """Bring the events of that call to `leg` from now on."""
        ...

    def leg_of(self, handle: sip.CallHandle) -> InviteUsage | None:
        """The leg of that call, as long as the call lives."""
        ...

    def forget(self, handle: sip.CallHandle) -> None:
        """The call is over. Does nothing if it is not known."""
        ...

    async def invitation(self, callee: str, permit: Permit, option: CallOption) -> AddressedInvitation:
        """The INVITE to `callee`. Raises ActiveCallError if the callee cannot be called, or its address not be found."""
        ...

    def count_transfer(self, trunk_name: str) -> PlacedCall:
        """Count a transfer that the peer, of that trunk, makes for us. Raises QuotaReached."""
        ...

    def withdraw_transfer(self, counted: PlacedCall) -> None:
        """The peer does not make that transfer: it does not count."""
        ...


@dataclass(frozen=True, slots=True)
class LegPort:
    """A SIP leg as its parts see it."""

    gateway: GatewayPort
    media: SipMedia
    handle: Callable[[], sip.CallHandle | None]
    """The endpoint's handle of the call; None before the call is placed."""
    tell: Callable[[LegEvent], None]
    """Tell the call of something; dropped after the end."""
    is_over: Callable[[], bool]

    @property
    def call(self) -> sip.CallHandle:
        """The endpoint's handle. Raises LocalProtocolError before the call is placed."""
        handle = self.handle()
        if handle is None:
            raise LocalProtocolError("the call has not been placed yet")
        return handle
