"""The Reason header: why a request was sent or a call ended, as a SIP status or a Q.850 cause (RFC 3326, Q.850).

A header value goes in, frozen `Reason`s come out, and back. A message may contain several reasons, at most one per protocol.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.syntax.grammar import LWS, is_token, parse_parameters, quote
from active_call.sip.syntax.message import Request, Response

_MAX_CAUSE_DIGITS = 9


class Reason(Struct, frozen=True):
    """`protocol` is `SIP`, `Q.850` or another token, in upper case. `cause` is a status code or Q.850 cause value. `text` is for people."""

    protocol: str
    cause: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return format_reason(self)


def parse_reason(text: str) -> Reason:
    """Parse one reason value, `Q.850;cause=16;text="Terminated"`. Raises ParseError. A cause that is not a number counts as absent."""
    protocol, semicolon, rest = text.strip(LWS).partition(";")
    protocol = protocol.strip(LWS)
    if not is_token(protocol):
        raise ParseError("Reason", expected="a protocol", found=text)
    parameters = parse_parameters(semicolon + rest)
    digits = parameters.get("cause") or ""
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_CAUSE_DIGITS
    return Reason(protocol.upper(), int(digits) if is_number else None, parameters.get("text") or "")


def format_reason(reason: Reason) -> str:
    """The inverse of `parse_reason`. Raises LocalProtocolError for a protocol that is not a token or a text with line breaks."""
    if not is_token(reason.protocol) or "\r" in reason.text or "\n" in reason.text:
        raise LocalProtocolError("a reason has a token for its protocol and one line of text")
    cause = "" if reason.cause is None else f";cause={reason.cause}"
    return f"{reason.protocol}{cause}{f';text={quote(reason.text)}' if reason.text else ''}"


def reasons_of(message: Request | Response) -> tuple[Reason, ...]:
    """All reasons of a message, in order, without malformed ones."""
    found = []
    for text in message.headers.split("Reason"):
        try:
            found.append(parse_reason(text))
        except ParseError:
            continue
    return tuple(found)


def q850_cause(message: Request | Response) -> int | None:
    """The Q.850 cause value (16: normal clearing, 17: user busy …), None if the message has none."""
    return next((reason.cause for reason in reasons_of(message) if reason.protocol == "Q.850" and reason.cause is not None), None)
