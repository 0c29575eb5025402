"""Sends the events of one call, with time stamps, to the journal, the numbered log, watchers, and the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from active_call.agent.effects import FinalForAgent
from active_call.call.call_time import CallTime
from active_call.call.events.journal import Journal
from active_call.call.events.subscription import EventLog, is_own_hangup
from active_call.call.log import CallLog
from active_call.contract import events
from active_call.sdp.protection import without_keys
from active_call.store.records import RecordSink

MASK = "*"
"""Replaces a key, or words."""

Watcher = Callable[[events.Event], None]


SERVER_SIDE_TRACK: Final = "server-side-track"
"""The track of this side's playback."""
WITHOUT_TRACK: Final = (events.Ping, events.Metrics, events.AddHistory, events.Custom)
"""Events without a track."""
_OF_PLAYS: Final = (events.TrackStart, events.TrackEnd, events.Interruption)
_WITH_WORDS: Final = (events.AsrDelta, events.AsrFinal)
_SHOWN_STEPS: Final = (events.Ringing, events.Answer)
"""Tuples, since unions would be made again for each event."""


class EventOutput:
    """The events of one call. `to_agent` gets each event that the agent did not cause."""

    def __init__(self, journal: Journal, time: CallTime, records: RecordSink, log: CallLog, to_agent: Watcher) -> None:
        self._journal = journal
        self._time = time
        self._records = records
        self._log = log
        self._to_agent = to_agent
        self._watchers: list[Watcher] = []
        self._hangup: events.Event | None = None
        self._speech_began_ms = 0
        self.event_log = EventLog()
        """The source of subscriptions."""
        self.is_secret = False
        """The caller's input is secret: only the agent gets it; others see only that there was input."""

    def emit(self, event: events.Event) -> None:
        """Send an event to all receivers, including the agent."""
        outward = _masked(event) if self.is_secret else _of_one_utterance(event)
        told = self.tell(outward)
        self._to_agent(told if outward is event else msgspec.structs.replace(event, timestamp=told.timestamp))

    def tell(self, event: events.Event) -> events.Event:
        """As `emit`, but not to the agent, which caused it. Returns the event with its time."""
        event = _without_keys(event)
        timestamp = event.timestamp or self._time.to_epoch_ms(self._time.now())
        event = self._with_times(event, timestamp)
        stamped = msgspec.structs.replace(event, timestamp=timestamp, track_id=event.track_id or self._track_of(event))
        self._journal.note(stamped)
        if is_own_hangup(stamped):
            self._hangup = stamped
        if isinstance(stamped, _SHOWN_STEPS) and not stamped.refer:
            self._records.update(self._journal.open_call())
        self.event_log.append(stamped)
        for watcher in list(self._watchers):
            try:
                watcher(stamped)
            except Exception:  # noqa: BLE001 - a watcher that fails does not end the call
                self._log.exception("watcher of a call failed")
        return stamped

    def _with_times(self, event: events.Event, timestamp: int) -> events.Event:
        """Add start and end times to recognised words, because clients need them. A realtime model reports none: then the words start
        with the voice and end now."""
        if isinstance(event, events.Speaking) and not event.refer:
            self._speech_began_ms = event.start_time
        if not isinstance(event, _WITH_WORDS) or (event.start_time is not None and event.end_time is not None):
            return event
        start_ms = event.start_time if event.start_time is not None else min(self._speech_began_ms or timestamp, timestamp)
        return msgspec.structs.replace(event, start_time=start_ms, end_time=event.end_time if event.end_time is not None else timestamp)

    def _track_of(self, event: events.Event) -> str | None:
        """The event's track: this side's playback, or the caller's own track, which has the id of the call."""
        if isinstance(event, WITHOUT_TRACK):
            return None
        is_play = isinstance(event, _OF_PLAYS) and not event.refer
        return SERVER_SIDE_TRACK if is_play else self._journal.session_id

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with every further event until the returned function is called; for an ended call, with its hangup."""
        self._watchers.append(watcher)
        if self._hangup is not None:
            watcher(self._hangup)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def close(self) -> None:
        """The call has ended: forget the watchers."""
        self._watchers.clear()


def _masked(event: events.Event) -> events.Event:
    """The event with the caller's input masked."""
    match event:
        case events.Dtmf():
            return msgspec.structs.replace(event, digit=MASK)
        case events.AsrFinal() | events.AsrDelta():
            return msgspec.structs.replace(_of_one_utterance(event), text=MASK if event.text else "")
        case _:
            return event


def _of_one_utterance(event: events.Event) -> events.Event:
    """The event without the text of earlier utterances, which may have been secret."""
    if not isinstance(event, FinalForAgent):
        return event
    return events.AsrFinal(**{name: getattr(event, name) for name in events.AsrFinal.__struct_fields__})


def _without_keys(event: events.Event) -> events.Event:
    """The event for records and watchers: descriptions without media keys."""
    sdp = getattr(event, "sdp", None)
    return msgspec.structs.replace(event, sdp=without_keys(sdp)) if isinstance(sdp, str) and sdp else event
