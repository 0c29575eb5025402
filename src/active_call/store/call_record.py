"""The record of one call: what is left of it when it is over. Values only, and their JSON (camelCase, times ISO 8601 in UTC).

In: what a call's journal has noted. Out: a frozen CallRecord, its JSON, and the short form that lists show. Knows no disk and no network.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from active_call.base.errors import ParseError


class TranscriptLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One utterance. For the agent, `text` is what was heard of it. Latency parts are in ms, as in `contract.events.Turn`."""

    speaker: str
    """`caller`, `agent` or `system`."""
    text: str
    at: datetime
    """When it began; aware UTC."""
    interrupted: bool = False
    """The caller spoke into it, and what followed was not heard."""
    latency_ms: float | None = None
    end_of_turn_wait_ms: float | None = None
    recognition_ms: float | None = None
    model_ms: float | None = None
    synthesis_ms: float | None = None
    added_ms: float | None = None


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything that is known of a call that is over. Times are aware UTC; None: did not happen."""

    session_id: str
    call_id: str
    """The SIP Call-ID; empty for other kinds of leg."""
    direction: str
    """`inbound` or `outbound`."""
    caller: str
    callee: str
    start_time: datetime
    end_time: datetime
    status: str
    """`answered`, `rejected`, `failed`, `cancelled` …"""
    call_type: str = "sip"
    """`sip`, `webrtc` or `websocket`."""
    ring_time: datetime | None = None
    answer_time: datetime | None = None
    duration_s: float = 0.0
    """From answer to end; 0 when it was never answered."""
    hangup_reason: str = ""
    """A stable word."""
    hangup_by: str = ""
    """`caller`, `callee`, `agent`, `api` or `system`."""
    sip_code: int | None = None
    playbook: str = ""
    trunk: str = ""
    """The trunk that the call belonged to; empty where it belonged to none."""
    variables: dict[str, Any] = {}
    turns: tuple[TranscriptLine, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    """Contract events with their wire names, in order."""
    transfers: tuple[dict[str, Any], ...] = ()
    """Each transfer: target, end state, code, reason and times, and its far legs."""
    media: dict[str, Any] = {}
    """Packet and loss counts, jitter and codec of the media stream."""
    recording: str | None = None
    """Path of the recording."""
    recording_ms: float | None = None
    error: str | None = None
    """Why it failed, for people."""

    def to_json(self) -> bytes:
        """The record as one JSON object. Variables that JSON cannot hold appear as their text."""
        return msgspec.json.encode(self, enc_hook=str)

    def summary(self) -> RecordSummary:
        """The short form."""
        return RecordSummary(
            id=self.session_id,
            date=self.start_time,
            duration=self.duration_s,
            status=self.status,
            direction=self.direction,
            caller=self.caller,
            callee=self.callee,
        )


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a list of calls shows of one."""

    id: str
    date: datetime
    """When the call began; aware UTC."""
    duration: float
    """Seconds from answer to end."""
    status: str
    direction: str = ""
    caller: str = ""
    callee: str = ""


_record_decoder = msgspec.json.Decoder(CallRecord)
_summary_decoder = msgspec.json.Decoder(RecordSummary)


def parse_record(data: bytes) -> CallRecord:
    """Read a record back. Raises ParseError."""
    try:
        return _record_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ParseError("call record", expected=str(error)) from error


def parse_summary(data: bytes) -> RecordSummary:
    """Read one line of a day's index. Raises ParseError."""
    try:
        return _summary_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ParseError("call record index", expected=str(error)) from error


def day_of(at: datetime) -> str:
    """The UTC day as `YYYYMMDD`."""
    return at.astimezone(UTC).strftime("%Y%m%d")
