"""The interface of a call to every leg, whatever the transport of the voice.

The call opens a leg (`open_media`, then `ring` and `accept`, or `dial`), speaks and listens through its media stream, and closes it
(`hang_up` or `reject`, then `release`). All events arrive as `legs.events.LegEvent` through the sink given to `attach`. `legs.abilities`
has the abilities of some legs only (hold, transfer, digits, texts).

Methods that wait for the network or the media plane are coroutines. The call runs them in its task group.

The order of the events is the same for every leg:

    LegRinging* -> LegAnswered -> LegReady -> ... -> LegEnded

The stream may exist long before its RTP can be configured: the codec is known with the answer, and the keys of DTLS-SRTP (RFC 5763) follow
after it. The call may queue sound and enable detection from `open_media` on. The leg configures the stream as soon as everything is known,
and only then emits LegReady. If the keys do not arrive in time, it ends the call with the cause `no_media`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from active_call.contract.options import CallOption
from active_call.legs.events import LegEvent
from active_call.media.pool.pool import MediaStream


class Leg(Protocol):
    """The connection to one party. It emits exactly one LegEnded. `release` frees its resources."""

    @property
    def kind(self) -> str:
        """`sip`, `webrtc` or `websocket`."""
        ...

    @property
    def caller(self) -> str:
        """The address of the caller."""
        ...

    @property
    def callee(self) -> str:
        """The address of the callee."""
        ...

    @property
    def call_id(self) -> str:
        """The call's id in its protocol (SIP Call-ID), for records."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the INVITE; for a call that we place, those of its answer, empty before that."""
        ...

    @property
    def trunk(self) -> str:
        """The name of the call's trunk; empty if it has none."""
        ...

    @property
    def offer(self) -> str:
        """The session description that the peer offered; empty if it sent none."""
        ...

    @property
    def peer_address(self) -> str:
        """The source IP address of the peer's messages; empty if unknown."""
        ...

    @property
    def stream(self) -> MediaStream | None:
        """The media stream, from `open_media` on."""
        ...

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """Send events to `sink` from now on. The call attaches first, and again when the leg moves to another owner."""
        ...

    async def open_media(self, near: MediaStream | None = None) -> MediaStream | None:
        """Open a media stream before accept or dial; None for a leg that needs none. Raises MediaError if there is no capacity.

        `near`: the stream that it will be bridged with.
        """
        ...

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        """Place the call. `call_id`, if given, becomes the id in the protocol. Progress is reported by events.

        Raises ActiveCallError if the call cannot be placed.
        """
        ...

    async def ring(self, *, early_media: bool = False) -> None:
        """Signal ringing to the caller. With `early_media` the leg also starts media, if the INVITE allows it."""
        ...

    async def accept(self, option: CallOption) -> None:
        """Answer the call. If no media can be negotiated, the leg refuses the call with the appropriate code and raises an error."""
        ...

    def reject(self, code: int, reason: str) -> bool:
        """Refuse the call with a SIP status. Returns False without effect if the call is answered or over."""
        ...

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        """End the call in any state. LegEnded follows with this `by`, `cause` and `reason`."""
        ...

    async def release(self) -> dict[str, float]:
        """Close the media stream and return its statistics; empty if there are none."""
        ...
