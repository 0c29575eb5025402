"""What a transfer or a bridge means for the conversation: the caller is connected to somebody else, or is back.

In: events of the call. Out: a decision that the conversation carries out. When the caller is back, a model gets `hint` and a script says
`text`.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.wording import Wording
from active_call.contract import events

_LAST_OF_TRANSFER = frozenset({"completed", "failed", "cancelled"})


class CallerLeaves(Struct, frozen=True):
    """The caller is now connected to somebody else."""


class CallerReturns(Struct, frozen=True):
    """The caller is back."""

    hint: str
    text: str


def absence_by_transfer(event: events.Transfer, wording: Wording, greeting: str) -> CallerLeaves | CallerReturns | None:
    """Interpret a transfer event. The last event of a transfer has its outcome. None: the call is over or about to be hung up."""
    if event.state not in _LAST_OF_TRANSFER:
        return CallerLeaves()
    if not (event.state == "failed" if event.returned is None else event.returned):
        return None
    if event.initiator is not None and event.state == "completed":
        return CallerReturns(wording.is_transferred.format(target=event.target), greeting or wording.back)
    if event.initiator is not None or event.state == "completed":
        return CallerReturns(wording.has_returned.format(target=event.target), wording.back)
    hint = wording.has_failed.format(target=event.target, code=event.code or 0, reason=event.reason or event.state)
    return CallerReturns(hint, wording.not_connected)


def absence_by_bridge(event: events.Bridge, wording: Wording) -> CallerLeaves | CallerReturns:
    """The caller is bridged to another call, or the bridge has ended."""
    if event.state == "joined":
        return CallerLeaves()
    return CallerReturns(wording.has_returned.format(target="another caller"), wording.back)
