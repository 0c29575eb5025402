"""The `reason` of a `hangup` event: a word of the contract, or a client's text. Pure.

The record keeps the more specific cause; the event has it as `extra.cause` if it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[str, str]] = {
    "hangup": "system",
    "local_bye": "system",
    "budget": "noBalance",
    "cancelled": "canceled",
    "inactivity": "inactivityTimeout",
    "transport": "serverUnavailable",
    "far_hangup": "refer",
    "transferred": "refer",
    "replaced": "refer",
    "local_reject": "rejected",
    "error": "system",
    "media_lost": "system",
    "no_ack": "system",
    "no_media": "system",
    "rtp_timeout": "system",
    "session_expired": "system",
    "outbound_minutes": "system",
    "overload": "system",
    "shutdown": "system",
}
_PEER_LEFT: Final = "remote_bye"
_OF_THE_CORE: Final = frozenset({"local_bye", "local_reject"})
"""Causes of the SIP core; a record has the reason for which the call hung up or refused."""
CAUSES: Final = (*(word for word in _WORDS if word not in _OF_THE_CORE), _PEER_LEFT, "timeout", "rejected", "autohangup", "answerMachine")
"""The causes that this program gives. An agent or a client may give any other text."""


def hangup_reason(cause: str, ended_by: str, *, was_answered: bool) -> str:
    """`caller`, `callee`, `refer`, `system`, `autohangup`, `inactivityTimeout`, `noAnswer`, `canceled`, `rejected` … or a client's text."""
    if cause == _PEER_LEFT:
        return ended_by if ended_by in ("caller", "callee") else "system"
    if cause == "timeout":
        return "system" if was_answered else "noAnswer"
    return _WORDS.get(cause, cause)
