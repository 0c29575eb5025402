"""What a leg tells the call that it belongs to, whatever kind of leg it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from active_call.media.client import StreamLost
from active_call.media.link import Report


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
    """The peer has put the call on hold, or taken it back."""

    on_hold: bool


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
    """The peer asks us to go elsewhere (REFER)."""

    refer_to: str
    referred_by: str | None


@dataclass(frozen=True, slots=True)
class LegTransferProgress:
    """How the transfer that we asked for goes: a SIP status, `final` for the last word. A final 2xx: the target has taken the call."""

    code: int
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class LegMedia:
    """A report of the leg's media stream."""

    report: Report | StreamLost


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The leg is gone; nothing follows. `by`: caller, callee or system; `cause` is a stable word, `code` a SIP status, if any."""

    by: str
    cause: str
    code: int | None = None
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


LegEvent = (
    LegRinging | LegAnswered | LegReady | LegHeld | LegMessage | LegDigit | LegTransferRequested | LegTransferProgress | LegMedia | LegEnded
)
