"""Format one SIP message for people: its start line, the headers for a call ladder, and the whole text without secrets.

Bytes go in, valid Unicode comes out. A message that does not parse is formatted too. Credentials and media keys (RFC 3261 §22, RFC 4568)
are always removed.
"""

from __future__ import annotations

import re
from typing import Final

from active_call.contract.secrets import STARS
from active_call.legs.sip.plain_text import plain, plain_body
from active_call.sdp.protection import without_keys

SHOWN: Final = (
    "Allow", "CSeq", "Contact", "Content-Type", "Event", "From", "Min-SE", "P-Asserted-Identity", "Reason", "Refer-To", "Replaces",
    "Require", "Retry-After", "Server", "Session-Expires", "Subscription-State", "To", "Unsupported", "User-Agent", "Warning",
)  # fmt: skip
"""The headers of a summary."""
_COMPACT: Final = {"c": "Content-Type", "f": "From", "m": "Contact", "r": "Refer-To", "t": "To", "x": "Session-Expires"}
_LEFT_OUT: Final = ("Accept", "Call-ID", "Content-Length", "Date", "Max-Forwards", "Record-Route", "Route", "Supported", "Via")
"""The most frequent headers that a summary has not."""
_FULL: Final[dict[str, str | None]] = {
    **{spelt: None for name in _LEFT_OUT for spelt in (name, name.lower())},
    **{spelt: name for name in SHOWN for spelt in (name, name.lower())},
    **_COMPACT,
}
"""The full name by the name as written, in two spellings; None: not in a summary."""
_HEADER: Final = re.compile(r"\n([^\n:]*):[ \t]*([^\n]*)")
_FOLD: Final = re.compile(r"(?<![ \t])[ \t]*+\r?\n[ \t]+")
"""A line break inside a header (RFC 3261 §7.3.1). It is tried once for each run of blanks, so that thousands of them cost little."""
_BLANKS: Final = " \t\r\n\v\f"
MAX_VALUE: Final = 300
"""Maximum length of a header value or a start line in a summary."""

_CALL_ID: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_END_OF_HEADERS: Final = re.compile(r"\r?\n\r?\n")
_CREDENTIALS: Final = re.compile(r"(?im)^((?:proxy-)?authorization[ \t]*:[ \t]*)(?:[^\r\n]|\r?\n[ \t])*")
_DIGITS: Final = re.compile(r"(?im)^(?:content-type|c)[ \t]*:[ \t]*application/dtmf")
"""Matches SIP INFO with pressed keys, because a caller may have entered a card number."""
_BEFORE_AT: Final = re.compile(r"(?<![^\s@<>])[^\s@<>]++@")
"""What may be user and password of a URI, from its beginning. Tried once for each, so that thousands of `sip:a:` cost little."""
_USER: Final = re.compile(r"[sS][iI][pP][sS]?:[^\s:@<>;?]+:")


def call_id_of(data: bytes) -> bytes:
    """The Call-ID as written in the message; empty if there is none."""
    found = _CALL_ID.search(data)
    return found[1].rstrip() if found is not None else b""


def start_line_of(data: bytes) -> str:
    """The first line, without a password in the URI."""
    return _without_passwords(plain(_text(data.partition(b"\n")[0].rstrip(b"\r"))))[:MAX_VALUE]


def headers_of(data: bytes) -> dict[str, str]:
    """The headers of a summary by full name. Repeated ones are joined (RFC 3261 §7.3.1)."""
    return summary_of(data)[1]


def summary_of(data: bytes) -> tuple[str, dict[str, str]]:
    """The start line (`start_line_of`) and the headers (`headers_of`)."""
    shown: dict[str, str] = {}
    head = _text(_head_of(data))
    is_plain = head.replace("\r\n", "").isprintable()
    if is_plain:  # nearly every message: its passwords are removed at once
        head = _without_passwords(head.replace("\r\n", "\n"))
    start_line = head.partition("\n")[0][:MAX_VALUE] if is_plain else start_line_of(data)
    if "\n " in head or "\n\t" in head:
        head = _FOLD.sub(" ", head)
    for name, value in _HEADER.findall(head):
        full = _FULL[name] if name in _FULL else _FULL.get(name.rstrip(" \t").lower())
        if full is not None:
            if not is_plain:
                value = _without_passwords(plain(value.strip(_BLANKS)))
            elif value[-1:] in _BLANKS:
                value = value.rstrip(_BLANKS)
            shown[full] = f"{shown[full]}, {value}"[:MAX_VALUE] if full in shown else value[:MAX_VALUE]
    return start_line, shown


def whole_text_of(data: bytes) -> str:
    """The message with credentials and digits replaced by stars, and without its media keys."""
    text = plain_body(data)
    end = _END_OF_HEADERS.search(text)
    head, rest = (text[: end.start()], text[end.start() :]) if end is not None else (text, "")
    rest = f"\r\n\r\n{STARS}" if rest and _DIGITS.search(head) is not None else without_keys(rest)
    return _without_passwords(_CREDENTIALS.sub(rf"\g<1>{STARS}", head)) + rest


def _head_of(data: bytes) -> bytes:
    """The bytes before the first empty line."""
    head, blank, _ = data.partition(b"\r\n\r\n")
    if blank and head.count(b"\n") == head.count(b"\r\n"):  # nearly every message; the pattern takes ten times as long
        return head
    found = _END_OF_HEAD.search(data)
    return data if found is None else data[: found.start()]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _without_passwords(text: str) -> str:
    return _BEFORE_AT.sub(_masked, text) if "@" in text else text


def _masked(before_at: re.Match[str]) -> str:
    user = _USER.search(before_at[0])
    return before_at[0] if user is None else f"{before_at[0][: user.end()]}{STARS}@"
