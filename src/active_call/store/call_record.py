"""The record of one call, during the call and after it. Values only, and their JSON.

The call's journal entries enter; a frozen OpenCall or CallRecord leaves, with its JSON (camelCase, times ISO 8601 in UTC) and the short
form for lists. Knows no disk and no network.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from active_call.base.errors import ParseError
from active_call.base.repair import encode_json
from active_call.contract.events import TurnWait

CRASHED = "crashed"
"""Status of a call whose server died during the call."""


class TranscriptLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One utterance. For the agent, `text` is what the caller heard of it. Latencies are in ms, as in `contract.events.Turn`."""

    speaker: str
    """`caller`, `agent` or `system`."""
    text: str
    at: datetime
    """When it began; aware UTC."""
    interrupted: bool = False
    """The caller interrupted it; the rest was not heard."""
    latency_ms: float | None = None
    end_of_turn_wait_ms: float | None = None
    recognition_ms: float | None = None
    model_ms: float | None = None
    synthesis_ms: float | None = None
    added_ms: float | None = None
    marks_ms: dict[str, float] = {}
    """See `marks` of `contract.events.Turn`."""
    waits: tuple[TurnWait, ...] = ()
    """As in `contract.events.Turn`: the parts of the latency, by what was waited for."""


class QualitySample(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Sound quality over some seconds of the call. None: unknown, because no RTCP reported it or too little sound came."""

    timestamp: int
    """When the period ended, in milliseconds since 1970."""
    received: int
    """Packets received from the peer."""
    lost: int = 0
    late: int = 0
    """Packets that came after their playout time."""
    jitter_ms: float = 0.0
    round_trip_ms: float | None = None
    mos: float | None = None
    """1 to 4.5, estimated."""
    peer_loss_percent: float | None = None
    """For our packets, from the peer's reports."""


class SipMessageLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One SIP message of the call, without credentials and media keys."""

    timestamp: int
    """Milliseconds since 1970, as in events."""
    received: bool
    """The other side sent it."""
    transport: str
    peer: str
    """The other side's address and port."""
    start_line: str
    headers: dict[str, str] = {}
    """The header fields that help to explain a call, by full name."""
    text: str = ""
    """The whole message, if `sipMessages` is `full`."""


class OpenCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A call in progress; its record is made from this if the server dies. Times are aware UTC; None: has not happened."""

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
    """Path of the recording in progress."""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The record of a call that has ended. Times are aware UTC; None: did not happen."""

    record_id: str = ""
    """Unique over all records: the session id, unless a client has used it before."""
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
    """From answer to end; 0 if it was never answered."""
    hangup_reason: str = ""
    """A stable word."""
    hangup_by: str = ""
    """`caller`, `callee`, `agent`, `api` or `system`."""
    sip_code: int | None = None
    playbook: str = ""
    trunk: str = ""
    """The call's trunk; empty if none."""
    engines: dict[str, dict[str, str]] = {}
    """By section (`asr`, `tts`, `llm`): `provider`, `name` of the voice or model, `reason` of the choice, `fallback`."""
    variables: dict[str, Any] = {}
    usage: tuple[dict[str, Any], ...] = ()
    """By engine: `kind`, `provider`, `model`, `units`, `cost` if it has a price, `estimated` if the vendor reported no amounts."""
    cost: dict[str, Any] | None = None
    """`currency`, `total` of everything with a price, `complete` (false: see `unpriced`), `estimated`; None if nothing was used."""
    turns: tuple[TranscriptLine, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    """Contract events with their wire names, in order."""
    sip_messages: tuple[SipMessageLine, ...] = ()
    """The messages of the call's own leg, in order; if there are very many, the first and the last ones. Those of far legs are in
    `transfers`.
    """
    transfers: tuple[dict[str, Any], ...] = ()
    """Each transfer: target, end state, code, reason and times, and its far legs."""
    media: dict[str, Any] = {}
    """Packet and loss counts, jitter and round trip of the media stream; what else is known of it."""
    quality: tuple[QualitySample, ...] = ()
    """The same over time: a sample every five seconds, less often in a long call."""
    recording: str | None = None
    """Path of the recording."""
    recording_ms: float | None = None
    recording_error: str | None = None
    """Why a recording ends early or is missing, such as a full disk."""
    error: str | None = None
    """Why it failed, as text."""

    def to_json(self) -> bytes:
        """The record as one JSON object. Values that JSON cannot hold appear in repaired form. Never raises."""
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
    """A call in a list of calls."""

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
    """The record of a call whose server died; `end_time` is the last time at which the server was known to run."""
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
