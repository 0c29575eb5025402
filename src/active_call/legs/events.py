"""What a leg tells the call that it belongs to, whatever kind of leg it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from active_call.media.link.messages import Report
from active_call.media.pool.pool import StreamLost


@dataclass(frozen=True, slots=True)
class LegRinging:
    """The far end is being alerted; `early_media`: its sound can be heard already."""

    early_media: bool
    code: int = 180


@dataclass(frozen=True, slots=True)
class LegAnswered:
    """The call is answered, by them or by us. `sdp` is the answer."""

    sdp: str


@dataclass(frozen=True, slots=True)
class LegReady:
    """Sound flows: what is said now will be heard."""


@dataclass(frozen=True, slots=True)
class LegHeld:
    """The peer has put the call on hold, or taken it back. `is_silent`: it plays no music of its own."""

    on_hold: bool
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class LegHoldAnswered:
    """What became of a hold of ours: the call is on hold by us now, or not. `code` of 300 or more: the peer has refused the change."""

    on_hold: bool
    code: int


@dataclass(frozen=True, slots=True)
class LegRequestRefused:
    """The peer has refused a request inside the call (MESSAGE, INFO), or did not answer it."""

    method: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class LegMessage:
    """A text from the peer inside the call."""

    body: str
    content_type: str


@dataclass(frozen=True, slots=True)
class LegDigit:
    """A digit that came by signalling (SIP INFO)."""

    digit: str


@dataclass(frozen=True, slots=True)
class LegTransferRequested:
    """The peer asks us to go elsewhere (REFER); `answer_transfer` comes next."""

    refer_to: str
    referred_by: str | None


@dataclass(frozen=True, slots=True)
class LegTransferProgress:
    """How the transfer that we asked for goes: a SIP status, `final` for the last word. A final 2xx: the target has taken the call.

    `refused`: the peer does not even try.
    """

    code: int
    reason: str
    final: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class LegMedia:
    """A report of the leg's media stream."""

    report: Report | StreamLost


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The leg is gone; nothing follows. `by`: caller, callee or system; `cause` is a stable word, `code` a SIP status, if any.

    `q850` is the telephone network's cause value, where the peer tells it: 16 normal clearing, 17 busy, 19 no answer …
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
