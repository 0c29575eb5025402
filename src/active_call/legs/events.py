"""The events that every kind of leg sends to its call."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from active_call.media.link.messages import Report
from active_call.media.pool.pool import StreamLost


class LegRinging(Struct, frozen=True):
    """The far end is ringing. `early_media`: its media is already audible."""

    early_media: bool
    code: int = 180


class LegAnswered(Struct, frozen=True):
    """The peer or our side has answered the call. `sdp` is the answer."""

    sdp: str


class LegReady(Struct, frozen=True):
    """Media flows in both directions: the peer hears what is said from now on."""


class LegHeld(Struct, frozen=True):
    """The peer has put the call on hold or resumed it. `is_silent`: the peer plays no music of its own."""

    on_hold: bool
    is_silent: bool = False


class LegHoldAnswered(Struct, frozen=True):
    """The answer to our hold or resume. `on_hold`: whether the call is on hold by us now. `code` of 300 or more: the peer refused."""

    on_hold: bool
    code: int


class LegRequestRefused(Struct, frozen=True):
    """The peer has refused or not answered an in-dialog request (MESSAGE, INFO)."""

    method: str
    code: int
    reason: str


class LegMessage(Struct, frozen=True):
    """A text from the peer inside the call."""

    body: str
    content_type: str


class LegDigit(Struct, frozen=True):
    """A digit received by signalling (SIP INFO)."""

    digit: str


class LegTransferRequested(Struct, frozen=True):
    """The peer asks us to call somebody else (REFER). The call answers with `answer_transfer`.

    `headers` are for the INVITE to the target: Replaces of an attended transfer (RFC 3891), and others that the peer may set.
    """

    refer_to: str
    referred_by: str | None
    headers: tuple[tuple[str, str], ...] = ()


class LegTransferProgress(Struct, frozen=True):
    """The progress of the transfer that we requested, as a SIP status. `final`: the last event. A final 2xx: the target has answered.

    `refused`: the peer refused the REFER itself.
    """

    code: int
    reason: str
    final: bool
    refused: bool = False


class LegMedia(Struct, frozen=True):
    """A report of the leg's media stream."""

    report: Report | StreamLost


class LegEnded(Struct, frozen=True):
    """The call is over; only reports of the stream follow. `by`: caller, callee or system. `cause`: a stable id. `code`: a SIP status.

    `q850` is the Q.850 cause value, if the peer sent one: 16 normal clearing, 17 busy, 19 no answer …
    """

    by: str
    cause: str
    code: int | None = None
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    q850: int | None = None


LegEvent = (
    LegRinging
    | LegAnswered
    | LegReady
    | LegHeld
    | LegHoldAnswered
    | LegMessage
    | LegDigit
    | LegRequestRefused
    | LegTransferRequested
    | LegTransferProgress
    | LegMedia
    | LegEnded
)
