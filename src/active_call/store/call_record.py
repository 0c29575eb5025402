"""The record of one call, during the call and after it. Values only, and their JSON.

In: what a call's journal has noted. Out: a frozen OpenCall or CallRecord, its JSON (camelCase, times ISO 8601 in UTC), and the short form
that lists show. Knows no disk and no network.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from active_call.base.errors import ParseError
from active_call.base.repair import encode_json
from active_call.contract.events import TurnWait

CRASHED = "crashed"
"""Status of a call that was alive when its server died."""


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
    marks_ms: dict[str, float] = {}
    """As `marks` of `contract.events.Turn`."""
    waits: tuple[TurnWait, ...] = ()
    """As in `contract.events.Turn`: the latency, cut by who was waited for."""


class QualitySample(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How some seconds of the call have sounded. None: not known, since no RTCP has told it, or too little was heard."""

    timestamp: int
    """When they ended, in milliseconds since 1970."""
    received: int
    """Packets of the peer's sound."""
    lost: int = 0
    late: int = 0
    """Packets that came when their turn was over."""
    jitter_ms: float = 0.0
    round_trip_ms: float | None = None
    mos: float | None = None
    """1 to 4.5, estimated."""
    peer_loss_percent: float | None = None
    """Of our packets, by the peer's reports."""


class SipMessageLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One SIP message of the call, without credentials and the keys of the media."""

    timestamp: int
    """Milliseconds since 1970, as in events."""
    received: bool
    """The other side has sent it."""
    transport: str
    peer: str
    """The other side's address and port."""
    start_line: str
    headers: dict[str, str] = {}
    """Those that explain a call, by their full names."""
    text: str = ""
    """The whole message, where `sipMessages` was `full`."""


class OpenCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A call in progress; the basis of its record when the server dies. Times are aware UTC; None: has not happened."""

    session_id: str
    call_id: str
    direction: str
    caller: str
    callee: str
    start_time: datetime
    call_type: str = "sip"
    ring_time: datetime | None = None
    answer_time: datetime | None = None
    playbook: str = ""
    trunk: str = ""
    recording: str | None = None
    """Path of the recording that is being written."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The record of a call that has ended. Times are aware UTC; None: did not happen."""

    record_id: str = ""
    """Unique over all records; the session id, unless a client has used that one before."""
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
    """`answered`, `rejected`, `failed` or `crashed`."""
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
    """The trunk that the call belonged to; empty if it belonged to none."""
    engines: dict[str, dict[str, str]] = {}
    """By section (`asr`, `tts`, `llm`): `provider`, `name` of the voice or model, `reason` it was chosen for, `fallback` behind it."""
    variables: dict[str, Any] = {}
    usage: tuple[dict[str, Any], ...] = ()
    """By engine: `kind`, `provider`, `model`, `units`, `cost` where it has a price, `estimated` where the vendor told no amounts."""
    cost: dict[str, Any] | None = None
    """`currency`, `total` of what has a price, `complete` (false: see `unpriced`), `estimated`; None if nothing was used."""
    turns: tuple[TranscriptLine, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    """Contract events with their wire names, in order."""
    sip_messages: tuple[SipMessageLine, ...] = ()
    """Of the call's own leg, in order; a call of many keeps its first and its last ones. Those of far legs are in `transfers`."""
    transfers: tuple[dict[str, Any], ...] = ()
    """Each transfer: target, end state, code, reason and times, and its far legs."""
    media: dict[str, Any] = {}
    """Packet and loss counts, jitter and codec of the media stream."""
    quality: tuple[QualitySample, ...] = ()
    """The same over time: a sample every five seconds, or of more seconds in a long call."""
    recording: str | None = None
    """Path of the recording."""
    recording_ms: float | None = None
    recording_error: str | None = None
    """Why a recording ends early or is missing: a full disk, say."""
    error: str | None = None
    """Why it failed, as text."""

    def to_json(self) -> bytes:
        """The record as one JSON object. What JSON cannot hold appears in its repaired form; this never raises."""
        return encode_json(self)

    @property
    def id(self) -> str:
        """The record's own id."""
        return self.record_id or self.session_id

    def summary(self) -> RecordSummary:
        """The short form."""
        return RecordSummary(
            id=self.id,
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


def parse_record(data: bytes) -> CallRecord:
    """Read a record back. Raises ParseError."""
    try:
        return _record_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ParseError("call record", expected=str(error)) from error


def day_of(at: datetime) -> str:
    """The UTC day as `YYYYMMDD`."""
    return at.astimezone(UTC).strftime("%Y%m%d")


def crashed_record(call: OpenCall, *, record_id: str, end_time: datetime) -> CallRecord:
    """The record of a call whose server died; `end_time` is when the server was last known to be alive."""
    reached = "answered" if call.answer_time else "ringing" if call.ring_time else "new"
    end_time = max(end_time, call.answer_time or call.ring_time or call.start_time)
    return CallRecord(
        **{name: getattr(call, name) for name in OpenCall.__struct_fields__},
        record_id=record_id,
        end_time=end_time,
        status=CRASHED,
        duration_s=round((end_time - call.answer_time).total_seconds(), 3) if call.answer_time else 0.0,
        hangup_reason=CRASHED,
        hangup_by="system",
        error=f"the server ended while the call was alive; the last state that it wrote down was {reached!r}",
    )
