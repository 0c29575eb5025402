"""What a part of a call decides: hang up, or refresh the session. The part returns the decision; the call carries it out."""

from __future__ import annotations

from msgspec import Struct

from active_call.sip.events import HeaderList
from active_call.sip.syntax.message import Response


class EndCall(Struct, frozen=True):
    """Send BYE with `bye_headers` and end the call. The other fields are those of CallEnded."""

    cause: str
    code: int | None = None
    reason: str = ""
    message: Response | None = None
    bye_headers: HeaderList = ()


class RefreshByInvite(Struct, frozen=True):
    """Refresh the session by a re-INVITE without changes (RFC 4028 §7.4)."""


Decision = EndCall | RefreshByInvite | None


def peer_is_gone(code: int, reason: str, response: Response | None) -> EndCall:
    """End the call after a re-INVITE or a refresh that got 408 or 481 or could not be sent (RFC 3261 §12.2.1.2, §14.1)."""
    return EndCall({481: "remote_bye", 503: "transport"}.get(code, "timeout"), code, reason, response)
