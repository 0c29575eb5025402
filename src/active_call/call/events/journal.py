"""Collects the events of a call, and makes its record when it has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from sys import getsizeof
from typing import Any

import msgspec

from active_call.agent.items import is_pressed
from active_call.call.events.hangup_reason import hangup_reason
from active_call.call.events.quality_series import QualitySeries
from active_call.call.state import CallFacts
from active_call.contract import events
from active_call.legs.events import LegEnded
from active_call.store.records import CallRecord, OpenCall, SipMessageLine, TranscriptLine

MAX_EVENTS = 5_000
"""Enough for hours of talk. A call with more events keeps the first ones, and the record says so."""
MAX_EVENT_BYTES = 2 << 20
"""Memory of the texts of all events: a caller may send a MESSAGE of 32 kB again and again, in many calls. 5,000 events have 1 MB."""
MAX_LINES = 5_000
"""Of the transcript."""
MAX_LINE_BYTES = 1 << 20
MAX_PROBLEMS = 200
_EMPTY_TEXT = getsizeof("")
AGENT_SPEAKERS = frozenset({"agent", "assistant"})


class Journal:
    """Stores events and facts; `record` returns the record."""

    def __init__(self, facts: CallFacts) -> None:
        self._facts = facts
        self._events: list[events.Event] = []
        self._n_left_out = 0
        self._n_event_bytes = 0
        self._n_lines_left_out = 0
        self._n_line_bytes = 0
        self._turns: list[TranscriptLine] = []
        self._latency: events.Turn | None = None
        self._interrupted = False
        self._reply_began_ms = 0
        self._speech_began_ms = 0
        self.media: dict[str, Any] = {}
        self.transfers: list[dict[str, Any]] = []
        self.quality = QualitySeries()
        self.sip_messages: tuple[SipMessageLine, ...] = ()
        self._recordings: dict[str, float | None] = {}
        self._recording_error = ""
        self._n_lost = 0
        """Utterances without a result, because the recogniser was overloaded or failed."""
        self._problems: list[dict[str, str]] = []

    @property
    def session_id(self) -> str:
        """The call's id."""
        return self._facts.session_id

    def note(self, event: events.Event) -> None:
        """Store an event with its time stamp."""
        if not event.refer:
            self._note_own(event)
        size = _text_bytes_of(event)
        if len(self._events) < MAX_EVENTS and self._n_event_bytes + size <= MAX_EVENT_BYTES:
            self._events.append(event)
            self._n_event_bytes += size
        else:
            self._n_left_out += 1

    def _note_own(self, event: events.Event) -> None:
        """Facts of the call from an event of its own leg."""
        match event:
            case events.AsrFinal(is_lost=True):
                self._n_lost += 1
            case events.Speaking(start_time=start_time):
                self._speech_began_ms = start_time
            case events.TrackStart(timestamp=timestamp):
                self._reply_began_ms = timestamp
                self._interrupted = False
            case events.Interruption():
                self._interrupted = True
            case events.Turn():
                self._latency = event
            case events.AddHistory():
                self._add_line(event)
            case events.MediaProblem():
                self._note_problem(event)
            case _:
                pass

    def recording_began(self, path: str) -> None:
        """A recording is being written at `path`."""
        self._recordings[path] = None

    def recording_ended(self, path: str, duration_ms: float, error: str) -> None:
        """A recording is complete, or failed with `error`."""
        self._recordings[path] = duration_ms
        if error:
            self._recording_error = error

    def hangup_event(self, ended: LegEnded | None) -> events.Hangup:
        """The last event of the call, with the facts of the end from the leg."""
        facts = self._facts
        if ended is not None:
            facts.ended_by, facts.end_reason = ended.by, ended.cause
            facts.sip_code = ended.code
            if ended.cause in ("no_ack", "timeout", "transport", "no_media", "session_expired") and not facts.error:
                facts.error = ended.reason or ended.cause
        else:
            facts.ended_by, facts.end_reason = "system", "error"
        reason = hangup_reason(facts.end_reason, facts.ended_by, was_answered=facts.answered_at is not None)
        return events.Hangup(
            reason=reason,
            initiator=facts.ended_by,
            start_time=facts.started_at.isoformat(),
            hangup_time=facts.over_at.isoformat(),
            answer_time=facts.answered_at.isoformat() if facts.answered_at else None,
            ringing_time=facts.ringing_at.isoformat() if facts.ringing_at else None,
            from_=_attendee(facts.caller),
            to=_attendee(facts.callee),
            extra=_told(ended, facts.end_reason if reason != facts.end_reason else ""),
        )

    def outcome(self) -> dict[str, Any]:
        """How the call has ended, for the log."""
        facts = self._facts
        return {
            "status": facts.status,
            "reason": facts.end_reason,
            "by": facts.ended_by,
            "code": facts.sip_code,
            "duration_s": round(facts.duration_s, 1),
            "playbook": facts.playbook,
            **({"cost": facts.cost["total"], "currency": facts.cost["currency"]} if facts.cost and "total" in facts.cost else {}),
        }

    def open_call(self) -> OpenCall:
        """The state of the call in progress."""
        facts = self._facts
        return OpenCall(
            session_id=facts.session_id,
            call_id=facts.call_id,
            direction=facts.direction,
            caller=facts.caller,
            callee=facts.callee,
            start_time=facts.started_at,
            call_type=facts.call_type,
            ring_time=facts.ringing_at,
            answer_time=facts.answered_at,
            playbook=facts.playbook,
            trunk=facts.trunk,
            recording=next(iter(self._recordings), None),
        )

    def record(self) -> CallRecord:
        """The record of the ended call."""
        facts = self._facts
        recording, recording_ms = next(iter(self._recordings.items()), (None, None))
        return CallRecord(
            session_id=facts.session_id,
            call_id=facts.call_id,
            direction=facts.direction,
            call_type=facts.call_type,
            caller=facts.caller,
            callee=facts.callee,
            start_time=facts.started_at,
            ring_time=facts.ringing_at,
            answer_time=facts.answered_at,
            end_time=facts.over_at,
            duration_s=round(facts.duration_s, 3),
            status=facts.status,
            hangup_reason=facts.end_reason,
            hangup_by=facts.ended_by,
            sip_code=facts.sip_code,
            playbook=facts.playbook,
            trunk=facts.trunk,
            engines=facts.engines,
            variables=facts.variables,
            usage=tuple(facts.usage),
            cost=facts.cost,
            turns=tuple(self._turns),
            events=tuple(msgspec.to_builtins(self._events)),
            transfers=tuple(self.transfers),
            sip_messages=self.sip_messages,
            media=self._media_facts(),
            quality=self.quality.samples(),
            recording=recording,
            recording_ms=recording_ms,
            recording_error=self._recording_error or None,
            error=facts.error or None,
        )

    def cut_short(self) -> None:
        """The call ended while the agent spoke."""
        self._interrupted = True

    def _media_facts(self) -> dict[str, Any]:
        facts = dict(self.media)
        if len(self._recordings) > 1:
            facts["recordings"] = [{"path": path, "durationMs": duration_ms} for path, duration_ms in self._recordings.items()]
        if self._recording_error:
            facts["recording_error"] = self._recording_error
        if self._n_lost:
            facts["utterances_lost"] = self._n_lost
        if self._problems:
            facts["problems"] = self._problems
        if self._n_left_out:
            facts["events_left_out"] = self._n_left_out
        if self._n_lines_left_out:
            facts["lines_left_out"] = self._n_lines_left_out
        return facts

    def _note_problem(self, event: events.MediaProblem) -> None:
        """Note each problem once, with its beginning and its end."""
        at = datetime.fromtimestamp(event.timestamp / 1000, UTC).isoformat()
        if not event.over:
            if len(self._problems) < MAX_PROBLEMS:
                self._problems.append({"problem": event.problem, "detail": event.detail, "at": at})
            return
        for problem in self._problems:
            if problem["problem"] == event.problem:
                problem.setdefault("overAt", at)

    def _add_line(self, event: events.AddHistory) -> None:
        size = getsizeof(event.text)
        if len(self._turns) >= MAX_LINES or self._n_line_bytes + size > MAX_LINE_BYTES:
            self._n_lines_left_out += 1
            return
        self._n_line_bytes += size
        is_agent = event.speaker in AGENT_SPEAKERS
        began_ms = (self._reply_began_ms if is_agent else self._speech_began_ms) or event.timestamp
        if not is_agent and is_pressed(event.text):
            began_ms = event.timestamp
        line = TranscriptLine(
            speaker="agent" if is_agent else "caller" if event.speaker in ("user", "caller") else event.speaker,
            text=event.text,
            at=datetime.fromtimestamp(began_ms / 1000, UTC),
            interrupted=is_agent and self._interrupted,
        )
        if is_agent and self._latency is not None:
            trace, self._latency = self._latency, None
            line = msgspec.structs.replace(
                line,
                latency_ms=trace.latency,
                end_of_turn_wait_ms=trace.end_of_turn_wait,
                recognition_ms=trace.recognition,
                model_ms=trace.model,
                synthesis_ms=trace.synthesis,
                added_ms=trace.added,
                marks_ms=trace.marks,
                waits=tuple(trace.waits),
            )
        self._turns.append(line)


def _text_bytes_of(event: events.Event) -> int:
    """About how much memory the texts of an event take: a character takes one to four bytes."""
    n_bytes = 0
    for name in _fields_with_text(type(event)):
        value = getattr(event, name)
        if type(value) is str:
            n_bytes += getsizeof(value) - _EMPTY_TEXT
        elif isinstance(value, dict | list | tuple):
            n_bytes += getsizeof(repr(value)) - _EMPTY_TEXT
    return n_bytes


@cache
def _fields_with_text(kind: type[events.Event]) -> tuple[str, ...]:
    numbers = (int, float, bool, int | None, float | None, bool | None)
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.name != "track_id" and field.type not in numbers)


def _told(ended: LegEnded | None, cause: str) -> dict[str, Any] | None:
    """The details of the end beside its word."""
    said: dict[str, Any] = {"cause": cause} if ended is None else {"cause": cause, "reasonText": ended.reason, "q850": ended.q850}
    return {key: value for key, value in said.items() if value} or None


def _attendee(address: str) -> events.Attendee:
    user, _, realm = address.partition(":")[2].partition("@") if ":" in address else address.partition("@")
    return events.Attendee(username=user, realm=realm, source=address)
