"""The header fields of RFC 4028: Session-Expires, Min-SE and the option tag `timer`. Pure functions without state."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.sip.events import EndpointConfig
from active_call.sip.responses import Reply
from active_call.sip.syntax.grammar import LWS, parse_parameters
from active_call.sip.syntax.message import Request, Response

MIN_INTERVAL_S = 90
"""RFC 4028 §4: Min-SE must not be lower. Ours is exactly this."""


class SessionExpires(Struct, frozen=True):
    """A Session-Expires value in seconds, and the refresher that this message names."""

    interval_s: int
    refresher: Literal["uac", "uas"] | None = None

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else str(self.interval_s)


def parse_session_expires(text: str) -> SessionExpires:
    """Parse a Session-Expires value. Raises ParseError. An unknown refresher counts as absent."""
    seconds, semicolon, rest = text.partition(";")
    refresher = (parse_parameters(semicolon + rest).get("refresher") or "").lower()
    return SessionExpires(_parse_seconds(seconds), "uac" if refresher == "uac" else "uas" if refresher == "uas" else None)


def session_expires_of(message: Request | Response) -> SessionExpires | None:
    """The Session-Expires of a message. None if it is absent or malformed."""
    text = message.headers.get("Session-Expires")
    try:
        return None if text is None else parse_session_expires(text)
    except ParseError:
        return None


def min_se_of(message: Request | Response) -> int:
    """The Min-SE of a message in seconds, 0 if it is absent or malformed."""
    try:
        return _parse_seconds((message.headers.get("Min-SE") or "0").partition(";")[0])
    except ParseError:
        return 0


def supports_timer(message: Request | Response) -> bool:
    """Whether the sender of `message` supports session timers."""
    tags = (*message.headers.split("Supported"), *message.headers.split("Require"))
    return any(tag.lower() == "timer" for tag in tags)


def too_small(config: EndpointConfig, request: Request) -> Reply | None:
    """The 422 for an INVITE or UPDATE whose interval is too short and whose sender supports 422 (§9)."""
    asked = session_expires_of(request)
    if "timer" not in config.supported or asked is None or asked.interval_s >= MIN_INTERVAL_S or not supports_timer(request):
        return None
    return Reply(422, "Session Interval Too Small", (("Min-SE", str(MIN_INTERVAL_S)),), rule="session_interval")


def _parse_seconds(text: str) -> int:
    digits = text.strip(LWS)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) > 0):
        raise ParseError("seconds", expected="a positive number", found=text)
    return int(digits)
