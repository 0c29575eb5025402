"""What a call needs of every leg, whichever way the voice is connected.

The call opens a leg (`open_media`, then `ring` and `accept`, or `dial`), speaks and listens through its media stream, and closes it
(`hang_up` or `reject`, then `release`). Everything that happens comes back as `legs.events.LegEvent` through the sink that `attach` takes.
What only some legs can do (hold, transfer, digits, texts) is in `legs.abilities`.

Methods that wait on the network or the media plane are coroutines; the call runs them in its task group.

The order of the events is the same for every leg:

    LegRinging* -> LegAnswered -> LegReady -> ... -> LegEnded

The stream may exist long before its RTP can be configured: the codec is known with the answer, and the keys of DTLS-SRTP (RFC 5763) come
after it. The call may queue sound and ask for detection from `open_media` on. The leg configures the stream when it knows all of it, and
tells LegReady then, not before. Where the keys do not come in time it ends the call with the cause `no_media`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from active_call.contract.options import CallOption
from active_call.legs.events import LegEvent
from active_call.media.pool.pool import MediaStream


class Leg(Protocol):
    """One party's connection. It tells exactly one LegEnded; `release` frees what it holds."""

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
        """The protocol's own id of the call (SIP Call-ID), for records."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the invitation; for a call that we place, those of its answer, and empty before that."""
        ...

    @property
    def trunk(self) -> str:
        """The name of the trunk that the call belongs to; empty if it belongs to none."""
        ...

    @property
    def offer(self) -> str:
        """The session description that the peer offered; empty if there is none."""
        ...

    @property
    def peer_address(self) -> str:
        """The IP address that the peer's messages come from; empty if it is not known."""
        ...

    @property
    def stream(self) -> MediaStream | None:
        """The media stream, from `open_media` on."""
        ...

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """Send events to `sink` from now on. The call attaches first of all, and again when the leg moves to another owner."""
        ...

    async def open_media(self, near: MediaStream | None = None) -> MediaStream | None:
        """Get a media stream, before accept or dial; None for a leg that needs none. Raises MediaError if there is no room.

        `near`: the stream that it will be bridged with.
        """
        ...

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        """Place the call. `call_id`, if given, becomes the protocol's own id. Progress comes as events.

        Raises ActiveCallError if the call cannot be placed.
        """
        ...

    async def ring(self, *, early_media: bool = False) -> None:
        """Tell the caller that it rings. With `early_media` the leg also opens the sound, if the invitation allows it."""
        ...

    async def accept(self, option: CallOption) -> None:
        """Answer the call. Where no sound can be agreed on, the leg refuses the call with the right code, and this raises."""
        ...

    def reject(self, code: int, reason: str) -> bool:
        """Refuse the call with a SIP status. Returns False, and does nothing, when the call is answered or over."""
        ...

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        """End the call in whatever state it is. LegEnded follows with this `by`, `cause` and `reason`."""
        ...

    async def release(self) -> dict[str, float]:
        """Close the media stream and return its statistics; empty when there are none."""
        ...
