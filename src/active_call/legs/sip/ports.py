"""What a SIP leg needs from the gateway, what the gateway needs from a leg, and what the parts of a leg need from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from msgspec import Struct

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
        """Whether we have placed the call and it is not about to end."""
        ...

    @property
    def media_place(self) -> tuple[str, str, int] | None:
        """See `SipMedia.place`."""
        ...

    def handle(self, event: sip.SipEvent) -> None:
        """Handle an event of this call."""
        ...

    def fail(self, reason: str) -> None:
        """Report the end of the call after an internal error, if no other event will."""
        ...


class AddressedInvitation(Struct, frozen=True):
    """An INVITE complete except for its SDP, and the two addresses that the SDP needs."""

    invitation: Invitation
    own_address: str
    """Our address towards the callee."""
    peer_address: str


class RequestPort(Protocol):
    """The gateway as seen by senders of requests outside of calls: registrations and the trunk watch."""

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Run an operation on the endpoint now, and send the resulting messages."""
        ...

    def own_address_for(self, host: str) -> str:
        """Our address towards `host`."""
        ...


class GatewayPort(Protocol):
    """The gateway as one leg sees it."""

    @property
    def endpoint(self) -> Endpoint:
        """For queries only; operations use `run`."""
        ...

    @property
    def trace(self) -> SipTrace:
        """Stores the messages of the calls."""
        ...

    @property
    def offers_srtp(self) -> bool:
        """Whether our offers use SRTP if neither the trunk nor the call decides."""
        ...

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Run an operation on the endpoint now, and send the resulting messages."""
        ...

    def adopt(self, handle: sip.CallHandle, leg: InviteUsage) -> None:
        """Dispatch the events of that call to `leg` from now on."""
        ...

    def leg_of(self, handle: sip.CallHandle) -> InviteUsage | None:
        """The leg of that call while the call is active."""
        ...

    def forget(self, handle: sip.CallHandle) -> None:
        """The call is over. No effect if it is unknown."""
        ...

    def check_calls_at_place_of(self, leg: InviteUsage) -> None:
        """Ask the peers of other calls with the media address of `leg` and a closed connection whether they still have their call.

        A phone that was killed and started again uses the same ports, and would hear its old call. Two calls at one port alone prove
        nothing: mixers and SIPp have them.
        """
        ...

    async def invitation(self, callee: str, permit: Permit, option: CallOption) -> AddressedInvitation:
        """The INVITE to `callee`. Raises ActiveCallError if the callee may not be called or its address cannot be found."""
        ...

    def count_transfer(self, trunk_name: str) -> PlacedCall:
        """Count a transfer that the peer on that trunk makes for us. Raises QuotaReached."""
        ...

    def withdraw_transfer(self, counted: PlacedCall) -> None:
        """The peer does not make that transfer: do not count it."""
        ...


class LegPort(Struct, frozen=True):
    """A SIP leg as its parts see it."""

    gateway: GatewayPort
    media: SipMedia
    handle: Callable[[], sip.CallHandle | None]
    """The endpoint's handle of the call; None before the call is placed."""
    emit: Callable[[LegEvent], None]
    """Send an event to the call. Events after the end are dropped."""
    is_over: Callable[[], bool]

    @property
    def call(self) -> sip.CallHandle:
        """The endpoint's handle. Raises LocalProtocolError before the call is placed."""
        handle = self.handle()
        if handle is None:
            raise LocalProtocolError("the call has not been placed yet")
        return handle
