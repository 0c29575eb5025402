"""Digits by SIP INFO, both directions: `application/dtmf-relay` (Cisco's `Signal=` lines) and `application/dtmf` (the digit only).

Bodies of the peer go in and digits come out, and vice versa. This module knows no calls. Neither type is an Info Package of RFC 6086; both
are common practice.
"""

from __future__ import annotations

import re
from typing import Final

RELAY_TYPE: Final = "application/dtmf-relay"
PLAIN_TYPE: Final = "application/dtmf"
DIGIT_TYPES: Final = (RELAY_TYPE, PLAIN_TYPE)
DIGIT_PACKAGES: Final = frozenset(("dtmf", "infodtmf"))
"""Names that some peers put into Info-Package with these bodies. Neither is registered, and we offer none."""

_SIGNAL: Final = re.compile(r"^[ \t\r]*Signal[ \t]*=[ \t]*([0-9A-D*#]{1,2})[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
_BARE: Final = re.compile(r"\s*([0-9A-D*#]{1,2})\s*$", re.IGNORECASE)
_BY_NUMBER: Final = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"""Some peers send the event codes of RFC 4733."""


def read_digit(content_type: str, body: str) -> str:
    """The digit in an INFO, empty if there is none. `content_type` is in lower case without parameters."""
    if content_type not in DIGIT_TYPES:
        return ""
    found = _SIGNAL.search(body) or (_BARE.match(body) if content_type == PLAIN_TYPE else None)
    if found is None:
        return ""
    signal = found.group(1).upper()
    return signal if len(signal) == 1 else _BY_NUMBER.get(signal, "")


def write_digit(digit: str, duration_ms: int) -> bytes:
    """The body of an INFO of type `RELAY_TYPE`."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode()
