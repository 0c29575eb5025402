"""What a call needs of a leg, whichever way the voice is connected.

Methods that wait on the network or the media plane are coroutines, run by the call in its task group; everything that happens comes back as
`legs.events.LegEvent` through the sink given to `attach`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from active_call.contract.options import CallOption
from active_call.legs.events import LegEvent
from active_call.media.pool.pool import MediaStream


class Leg(Protocol):
    """One party's connection. Exactly one LegEnded closes its life; `release` frees what it holds."""

    kind: str
    """`sip`, `webrtc` or `websocket`."""
    caller: str
    callee: str
    call_id: str
    """The protocol's own id of the call (SIP Call-ID), for records."""
    headers: Mapping[str, str]
    """What came with the invitation; empty for calls that we place until they are answered."""
    trunk: str
    """The name of the trunk that the call belongs to; empty where it belongs to none."""
    offer: str
    """The session description offered to us; empty where there is none."""

    @property
    def replaces(self) -> Leg | None:
        """The leg of ours whose place an incoming one is to take (RFC 3891)."""
        ...

    @property
    def peer_address(self) -> str:
        """The IP address that the peer's messages come from; empty where that is not known."""
        ...

    @property
    def stream(self) -> MediaStream | None:
        """The media stream, from `open_media` on."""
        ...

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """Where events go from now on; before anything else, and again when the leg changes hands."""
        ...

    @property
    def has_telephone_events(self) -> bool:
        """Digits can go in the media (RFC 4733)."""
        ...

    @property
    def attended_target(self) -> str:
        """Where a third party can take our place in this call: an address with a Replaces header. Empty before the answer."""
        ...

    def allows(self, method: str) -> bool:
        """Whether the peer takes requests of this method inside the call, as far as it has told."""
        ...

    async def open_media(self, near: MediaStream | None = None) -> MediaStream | None:
        """Get a media stream, before accept or dial; None for a leg that needs none. Raises MediaError when there is no room.

        `near`: the stream that it will be bridged with.
        """
        ...

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        """Place the call, under the protocol's own id `call_id` where one is given. Progress comes as events.

        Raises ActiveCallError when it cannot even be tried.
        """
        ...

    async def ring(self, *, early_media: bool = False) -> None:
        """Tell the caller that it rings; with `early_media` the sound is opened, as far as the invitation allows."""
        ...

    async def accept(self, option: CallOption) -> None:
        """Answer the call. Refuses it with the right code, and raises, where sound cannot be agreed on."""
        ...

    def reject(self, code: int, reason: str) -> bool:
        """Refuse the call; False, and nothing happens, when it is answered or over."""
        ...

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        """End the call in whatever state it is; LegEnded follows, carrying `by`, `cause` and `reason`."""
        ...

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        """Send a text inside the call."""
        ...

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        """Send digits as signalling (SIP INFO) instead of in the media."""
        ...

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        """Ask the peer to call `target` instead of us; LegTransferProgress follows. Raises ActiveCallError when that cannot be asked.

        `is_own_call`: the target is the party of another call of ours, so that nobody is called anew. Else it counts as a call that we
        place, and QuotaReached is raised where the hour's calls are used up.
        """
        ...

    def answer_transfer(self, accepted: bool) -> None:
        """Answer a LegTransferRequested. Once accepted, `notify_transfer` tells how it goes."""
        ...

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        """Tell the peer how the transfer goes that it has asked for; harmless when that call is over."""
        ...

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        """Put the peer on hold, or take it back; LegHoldAnswered follows. Raises ActiveCallError when the call is not up."""
        ...

    async def release(self) -> dict[str, float]:
        """Close the media stream and give its statistics; empty when there are none."""
        ...
