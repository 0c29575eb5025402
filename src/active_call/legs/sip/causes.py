"""Convert the cause of a call's end between our causes and those of the telephone network (RFC 3326, Q.850).

Our cause becomes the Reason header of a BYE or CANCEL. The Reason of the peer's message becomes text and cause value for records.
"""

from __future__ import annotations

from collections.abc import Mapping

from active_call.legs.sip.own_headers import one_line
from active_call.legs.sip.plain_text import plain
from active_call.sip.events import HeaderList
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.reason import Reason, q850_cause, reasons_of

NORMAL = Reason("Q.850", 16, "Normal call clearing")
FAILURE = Reason("Q.850", 41, "Temporary failure")
_WORDS = {
    1: "Unallocated number",
    3: "No route to destination",
    16: "Normal call clearing",
    17: "User busy",
    18: "No user responding",
    19: "No answer from user",
    20: "Subscriber absent",
    21: "Call rejected",
    22: "Number changed",
    26: "Non-selected user clearing",
    27: "Destination out of order",
    28: "Invalid number format",
    31: "Normal, unspecified",
    34: "No circuit available",
    38: "Network out of order",
    41: "Temporary failure",
    42: "Switching equipment congestion",
    44: "Requested circuit not available",
    55: "Incoming calls barred",
    57: "Bearer capability not authorized",
    58: "Bearer capability not available",
    88: "Incompatible destination",
    102: "Recovery on timer expiry",
    111: "Protocol error",
    127: "Interworking, unspecified",
}
"""Q.850 table 1, for peers that send the value alone, as Asterisk does."""
FAILURES = frozenset(("error", "overload", "media_lost", "rtp_timeout", "no_media", "failed", "shutdown"))
"""Causes that neither side intended."""


def with_reason(headers: Mapping[str, str], cause: str) -> HeaderList:
    """`headers` for a BYE or CANCEL, with a Reason unless they have one."""
    own = tuple(headers.items())
    if any(name.lower() == "reason" for name, _ in own):
        return own
    return (*own, ("Reason", str(FAILURE if cause in FAILURES else NORMAL)))


def peer_reason(message: Request | Response | None) -> tuple[str, int | None]:
    """The peer's reason for ending the call: text for people, and the Q.850 cause value if present."""
    if message is None:
        return "", None
    cause = q850_cause(message)
    text = next((reason.text for reason in reasons_of(message) if reason.text), "")
    return plain(text or _WORDS.get(cause or 0) or message.headers.get("Reason") or ""), cause


MAX_WARNING = 400
"""Maximum length of a Warning: it may quote the peer's text, and the response must fit into one packet."""
_UNQUOTED = str.maketrans({"\\": None, '"': "'"})


def warning_header(text: str) -> tuple[str, str]:
    """A Warning header that explains to people why a call is refused (RFC 3261 §20.43)."""
    return "Warning", f'399 active-call "{one_line(plain(text))[:MAX_WARNING].translate(_UNQUOTED)}"'
