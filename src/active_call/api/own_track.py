"""Track events that clients of the contract expect: for the other party's sound `trackStart` before `answer` and `trackEnd` before
`hangup`, and `trackEnd` after the `interruption` of a playback.

In: the events of one call in order. Out: the events that a socket or an event stream sends before and after each of them. The other party's
track has the call's id. Records, agents and programs in this process do not get these events: for them the track is no playback of this
side, and `trackEnd` says that a playback was heard to its end. Pure.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from active_call.call.events.subscription import is_own_hangup
from active_call.contract import events

SAME_ANSWER_MS: Final = 1000
"""A late reader may get the first `answer` event again. An `answer` after this time belongs to a later offer."""


class OwnTrack:
    """The track events for one reader of one call. `answered_at`: the time of the answer if it was before the reader came."""

    def __init__(self, call_id: str, answered_at: datetime | None) -> None:
        self._call_id = call_id
        self._answered_ms = None if answered_at is None else int(answered_at.timestamp() * 1000)

    def before(self, event: events.Event) -> events.Event | None:
        """The event to send before `event`, or None."""
        if isinstance(event, events.Answer) and not event.refer and self._is_first(event):
            self._answered_ms = event.timestamp
            return events.TrackStart(timestamp=event.timestamp, track_id=self._call_id)
        if is_own_hangup(event) and self._answered_ms is not None:
            duration_ms = max(0, event.timestamp - self._answered_ms)
            return events.TrackEnd(timestamp=event.timestamp, track_id=self._call_id, duration=duration_ms)
        return None

    def after(self, event: events.Event) -> events.Event | None:
        """The event to send after `event`, or None."""
        if not isinstance(event, events.Interruption):
            return None
        return events.TrackEnd(
            timestamp=event.timestamp, track_id=event.track_id, refer=event.refer, duration=event.current, play_id=event.play_id
        )

    def _is_first(self, answer: events.Answer) -> bool:
        return self._answered_ms is None or abs(answer.timestamp - self._answered_ms) < SAME_ANSWER_MS
