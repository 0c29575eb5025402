"""The other party's sound as a track with the call's id, as clients of the contract know it: begun before `answer`, ended before `hangup`.

In: the events of one call in their order. Out: what a socket or an event stream sends before each. Records, agents and programs in this
process see plays of this side alone, so that none of them takes this track for one. Pure.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from active_call.call.events.subscription import is_own_hangup
from active_call.contract import events

SAME_ANSWER_MS: Final = 1000
"""A reader that comes later may be told the answer again; later ones belong to further offers."""


class OwnTrack:
    """What one reader of one call is told. `answered_at`: when the call was answered, where that was before the reader came."""

    def __init__(self, call_id: str, answered_at: datetime | None) -> None:
        self._call_id = call_id
        self._answered_ms = None if answered_at is None else int(answered_at.timestamp() * 1000)

    def before(self, event: events.Event) -> events.Event | None:
        """What is sent before `event`; None: nothing."""
        if isinstance(event, events.Answer) and not event.refer and self._is_first(event):
            self._answered_ms = event.timestamp
            return events.TrackStart(timestamp=event.timestamp, track_id=self._call_id)
        if is_own_hangup(event) and self._answered_ms is not None:
            duration_ms = max(0, event.timestamp - self._answered_ms)
            return events.TrackEnd(timestamp=event.timestamp, track_id=self._call_id, duration=duration_ms)
        return None

    def _is_first(self, answer: events.Answer) -> bool:
        return self._answered_ms is None or abs(answer.timestamp - self._answered_ms) < SAME_ANSWER_MS
