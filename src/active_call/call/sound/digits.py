"""Digits of a call: each received press is reported once, and outbound digits use the best method.

A trunk may send each press both as a telephone event (RFC 4733) and by SIP INFO. Two reports are one press if they have the same digit,
come by different methods, and are close in time; the same digit twice by one method is two presses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from active_call.base.errors import LocalProtocolError
from active_call.contract.bounds import DTMF_METHODS
from active_call.legs.abilities import Dtmf, dtmf, has_telephone_events
from active_call.media.sounds import tones

if TYPE_CHECKING:
    from active_call.legs.leg import Leg

SAME_PRESS_S: Final = 1.0
"""How far apart two reports of one press may be: an event is reported at its end, an INFO at its beginning or end."""


class _Press(Struct, frozen=True):
    digit: str
    way: str
    at: float


class DigitFilter:
    """Passes each press once. `now` is in monotonic seconds."""

    def __init__(self) -> None:
        self._unmatched: list[_Press] = []

    def is_new(self, digit: str, way: str, now: float) -> bool:
        """Whether this press was not reported yet; `way` is `media` or `signalling`."""
        self._unmatched = [press for press in self._unmatched if now - press.at <= SAME_PRESS_S]
        same = next((press for press in self._unmatched if press.digit == digit and press.way != way), None)
        if same is not None:
            self._unmatched.remove(same)
            return False
        self._unmatched.append(_Press(digit, way, now))
        return True


def way_of(leg: Leg, method: str | None) -> str:
    """How digits are sent to the peer of `leg`: as requested, else by the best method that it supports. Raises LocalProtocolError."""
    if method is None:
        return "rfc4733" if has_telephone_events(leg) else "info" if isinstance(leg, Dtmf) and leg.allows("INFO") else "inband"
    if method not in DTMF_METHODS:
        raise LocalProtocolError(f"unknown method {method!r}; expected {', '.join(DTMF_METHODS)}")
    if method == "rfc4733" and not dtmf(leg).has_telephone_events:
        raise LocalProtocolError("telephone events were not negotiated with the peer; use method 'info' or 'inband'")
    return method


def send_digits(leg: Leg, digits: str, way: str, duration_ms: int = 160) -> None:
    """Send digits to the peer of `leg` by `way`. Raises ActiveCallError; digits as tones are added to the current sound."""
    if way == "info":
        dtmf(leg).send_digits_by_signalling(digits, duration_ms)
    elif leg.stream is None:
        raise LocalProtocolError("the call has no media stream yet")
    elif way == "rfc4733":
        leg.stream.send_digits(digits, duration_ms)
    else:
        pcm = b"".join(tones.pieces(tones.dtmf(digits, duration_ms), leg.stream.rate_hz))
        leg.stream.queue_audio(f"dtmf:{digits}", pcm, end=True)
