"""The bounds and forms of the values of the contract.

The first half are annotated types for the fields of commands, options and requests: msgspec checks them where a value comes in. The second
half says of a text whether it has its form, in words that an error can quote. Bounds are wide: they keep out what would stop a process or
break a protocol, not what is unusual.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta

# -- numbers

FadeMs = Annotated[int, Meta(ge=0, le=10_000)]
DigitMs = Annotated[int, Meta(ge=40, le=6_000)]
"""Shorter is no digit to most receivers (ITU-T Q.24: 40 ms); the duration of a telephone event ends at 8.19 s (RFC 4733, section 2.3.4)."""
SpeechMs = Annotated[int, Meta(ge=0, le=10_000)]
PauseMs = Annotated[int, Meta(ge=0, le=60_000)]
HedgeMs = Annotated[int, Meta(ge=50, le=10_000)]
OffsetMs = Annotated[int, Meta(ge=0, le=86_400_000)]
LongMs = Annotated[int, Meta(ge=0, le=3_600_000)]
FlushMs = Annotated[int, Meta(ge=20, le=10_000)]
FrameMs = Annotated[int, Meta(ge=0, le=1_000)]
WaitS = Annotated[int, Meta(ge=0, le=86_400)]
TimeoutS = Annotated[int, Meta(ge=0, le=3_600)]
ShortS = Annotated[float, Meta(ge=0, le=60)]
BufferS = Annotated[int, Meta(ge=1, le=600)]
RateHz = Annotated[int, Meta(ge=8_000, le=48_000)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Headroom = Annotated[float, Meta(ge=0, le=60)]
Decibels = Annotated[float, Meta(ge=0, le=90)]
"""96 dB is the range of 16 bits."""
DecibelsPerS = Annotated[float, Meta(ge=0, le=100)]
NoiseDbfs = Annotated[float, Meta(ge=-120, le=0)]
Speed = Annotated[float, Meta(ge=0.1, le=10)]
Volume = Annotated[int, Meta(ge=0, le=100)]
Money = Annotated[float, Meta(gt=0, le=1_000_000)]
Amount = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Frames = Annotated[int, Meta(ge=0, le=1_000)]
Bytes = Annotated[int, Meta(ge=1, le=1_048_576)]
Tasks = Annotated[int, Meta(ge=1, le=1_000)]
LineIndex = Annotated[int, Meta(ge=0, le=255)]
RefusalCode = Annotated[int, Meta(ge=300, le=699)]
"""Final SIP responses that end an INVITE without a call (RFC 3261, section 21.3 on)."""
Temperature = Annotated[float, Meta(ge=0, le=2)]
Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]
DigitCount = Annotated[int, Meta(ge=1, le=64)]
Count = Annotated[int, Meta(ge=0, le=10_000)]

# -- texts

Word = Annotated[str, Meta(max_length=64)]
Fallback = Annotated[list[Word], Meta(max_length=4)]
"""Names of providers, in the order in which they are asked."""
Name = Annotated[str, Meta(max_length=256)]
Keyterms = Annotated[list[Name], Meta(max_length=200)]
Address = Annotated[str, Meta(max_length=1_024)]
Source = Annotated[str, Meta(max_length=4_096)]
"""A file or URL."""
Body = Annotated[str, Meta(max_length=65_536)]
Speech = Annotated[str, Meta(max_length=1_048_576)]
"""Text, or 24 s of samples in base64; `checks` holds text to `MAX_TEXT_CHARS`."""

MAX_TEXT_CHARS: Final = 20_000
"""Most text that is spoken, or added to the history, at once: twenty minutes of speech."""
MAX_DIGITS: Final = 64
MAX_DIGITS_MS: Final = 60_000
"""How long all digits of one command may take."""
MAX_HEADERS: Final = 64
MAX_HEADER_CHARS: Final = 2_048

RECORDING_FORMATS: Final = ("wav", "ogg", "mp3", "pcmu", "pcma", "pcm", "g722")
DTMF_METHODS: Final = ("rfc4733", "info", "inband")
HOLD_MODES: Final = ("sendonly", "inactive")
RECORD_ACTIONS: Final = ("start", "stop", "pause", "resume")
TRANSFER_MODES: Final = ("refer", "bridge", "auto", "warm")
ON_REQUEST: Final = ("reject", "bridge")
"""What to do with a REFER of the peer."""
SIP_TRANSPORTS: Final = ("udp", "tcp", "tls", "ws", "wss")
"""RFC 3261, section 19.1.1, and RFC 7118, section 4.2."""

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,128}")
"""RFC 3261, section 25.1."""
_CONTENT_TYPE: Final = re.compile(rf"{_TOKEN.pattern}/{_TOKEN.pattern}(?:\s*;\s*[\x20-\x7e]{{1,256}})?")
_DIGITS: Final = re.compile(r"[0-9A-Da-d*#]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LINE_BREAK: Final = re.compile(r"[\r\n\x00]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NUMBER: Final = re.compile(r"\+?[0-9*#][0-9*#().\-]*")
_USER_AND_HOST: Final = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")
_TRANSPORT: Final = re.compile(r";transport=([^;?>\s]*)", re.IGNORECASE)
_HOST: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9.])?(?::\d{1,5})?(?:[;?][^\s<>\"]*)?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?(?:[;?][^\s<>\"]*)?"
)


def against_session_id(text: str) -> str:
    """Why `text` cannot be a session id, which is part of URLs; empty if it can."""
    return "" if _SESSION_ID.fullmatch(text) and text not in (".", "..") else "expected 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -"


def against_line(text: str) -> str:
    """Why `text` cannot be a header value or one line."""
    return "expected text without control characters" if _CONTROL.search(text) else ""


def against_content_type(text: str) -> str:
    """Why `text` cannot be the type of a body; empty if it can."""
    return "" if _CONTENT_TYPE.fullmatch(text) else "expected a media type such as text/plain"


def against_digits(text: str) -> str:
    """Why `text` cannot be sent as digits."""
    if not 1 <= len(text) <= MAX_DIGITS or not _DIGITS.fullmatch(text):
        return f"expected 1 to {MAX_DIGITS} of 0-9 A-D * #"
    return ""


def against_headers(headers: Mapping[str, str]) -> str:
    """Why `headers` cannot be sent in a SIP message."""
    if len(headers) > MAX_HEADERS:
        return f"expected at most {MAX_HEADERS} headers, found {len(headers)}"
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            return f"{name[:80]!r} is not a header name"
        if _LINE_BREAK.search(value):
            return f"the value of {name!r} has a line break or NUL in it"
        if len(value) > MAX_HEADER_CHARS:
            return f"the value of {name!r} has {len(value)} characters; expected at most {MAX_HEADER_CHARS}"
    return ""


def against_callee(text: str) -> str:
    """Why `text` is neither a dialable address nor a number. The dial plan decides the rest."""
    expected = "expected a SIP address such as sip:+15551234567@example.com, or a number"
    bare = text.strip()
    if not bare:
        return f"empty; {expected}"
    if _CONTROL.search(bare):
        return f"{expected}, without control characters"
    scheme = _SCHEME.match(bare) if "@" not in bare.partition(":")[0] else None
    name = scheme[1].lower() if scheme else ""
    rest = bare[scheme.end() :] if scheme else bare
    if name == "tel":
        return "" if _NUMBER.fullmatch(rest.partition(";")[0]) else expected
    if name not in ("", "sip", "sips") and not _HOST.fullmatch(bare):
        return expected
    user = rest.rpartition("@")[0]
    if ":" in user:
        return "expected an address without a password; credentials go into sip.username and sip.password"
    transport = _TRANSPORT.search(rest.rpartition("@")[2])
    if transport is not None and transport[1].lower() not in SIP_TRANSPORTS:
        return f"expected one of the transports {', '.join(SIP_TRANSPORTS)}"
    fits = _USER_AND_HOST.fullmatch(rest) or _NUMBER.fullmatch(rest.replace(" ", "")) or _HOST.fullmatch(rest)
    return "" if fits else expected


def against_socket_url(text: str) -> str:
    """Why `text` cannot be the address of a WebSocket; empty if it can."""
    scheme, separator, rest = text.partition("://")
    if scheme.lower() in ("ws", "wss") and separator and rest.partition("/")[0]:
        return against_line(text)
    return "expected a URL such as wss://example.com/audio"


def against_recorder_file(text: str) -> str:
    """Why `text` cannot name a recording, which must stay in the recordings folder."""
    parts = text.replace("\\", "/").split("/")
    if ".." in parts:
        return "expected a path inside the folder of recordings, without '..'"
    return against_line(text)
