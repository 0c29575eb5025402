"""Why a call ends, between our words and the telephone network's (RFC 3326, Q.850).

Our word for the end of a call enters, and leaves as the Reason of a BYE or CANCEL; a message of the peer enters, and leaves as text and
cause value for records.
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
_FAILURES = frozenset(("error", "overload", "media_lost", "rtp_timeout", "no_media", "failed", "shutdown"))
"""Our words for an end that neither side has wanted."""


def with_reason(headers: Mapping[str, str], cause: str) -> HeaderList:
    """`headers` for a BYE or CANCEL, and why it is sent, unless they say so already."""
    own = tuple(headers.items())
    if any(name.lower() == "reason" for name, _ in own):
        return own
    return (*own, ("Reason", str(FAILURE if cause in _FAILURES else NORMAL)))


def told_reason(message: Request | Response | None) -> tuple[str, int | None]:
    """What the peer says of why it ends the call: text for people, and the cause value of Q.850, if any."""
    if message is None:
        return "", None
    text = next((reason.text for reason in reasons_of(message) if reason.text), "")
    return plain(text or message.headers.get("Reason") or ""), q850_cause(message)


MAX_WARNING = 400
"""Characters of a Warning: it may quote what the peer has named, and the response must fit into one packet."""
_UNQUOTED = str.maketrans({"\\": None, '"': "'"})


def warning_header(text: str) -> tuple[str, str]:
    """The Warning that tells people why a call is refused (RFC 3261 §20.43)."""
    return "Warning", f'399 active-call "{one_line(plain(text))[:MAX_WARNING].translate(_UNQUOTED)}"'
