"""Rows of calls: columns of a call in progress, and of its record after its end. Values only."""

from __future__ import annotations

import contextlib
import math
from datetime import datetime
from typing import Any, Final

import msgspec

from active_call.base.repair import clean_text, encode_json
from active_call.store.call_record import CallRecord, OpenCall
from active_call.store.database.statements import Row, assignments, insert_into

_open_decoder = msgspec.json.Decoder(OpenCall)

MAX_TEXT: Final = 1024
"""Characters of a summary column; the record itself has the full text."""

OPEN_DEFAULTS: Final[dict[str, Any]] = {
    "state": "open",
    "status": "active",
    "ended_at": None,
    "duration_s": 0.0,
    "hangup_reason": "",
    "hangup_by": "",
    "sip_code": None,
    "error": None,
    "body": None,
}
"""Columns of a call that has not ended."""

_OPEN_COLUMNS: Final = (
    "session_id", "direction", "call_type", "caller", "callee", "call_id", "trunk", "playbook", "started_at", "ringing_at", "answered_at",
)  # fmt: skip
INSERT_CALL: Final = insert_into("calls", ("id", "node", *_OPEN_COLUMNS, *OPEN_DEFAULTS))
INSERT_OUTBOX: Final = insert_into("outbox", ("record_id", "node", "state", "attempts", "due_at", "created_at", "error"))
UPDATE_OPEN: Final = f"UPDATE calls SET {assignments((*_OPEN_COLUMNS, 'body'))} WHERE id = :key AND state = 'open'"
CLOSE_CALL: Final = f"UPDATE calls SET {assignments((*_OPEN_COLUMNS, *OPEN_DEFAULTS))} WHERE id = :key"


def open_columns(call: OpenCall | CallRecord) -> dict[str, Any]:
    """The columns known from the first message on."""
    return {
        "session_id": _short(call.session_id),
        "direction": _short(call.direction, 16),
        "call_type": _short(call.call_type, 16),
        "caller": _short(call.caller),
        "callee": _short(call.callee),
        "call_id": _short(call.call_id),
        "trunk": _short(call.trunk),
        "playbook": _short(call.playbook),
        "started_at": call.start_time,
        "ringing_at": call.ring_time,
        "answered_at": call.answer_time,
    }


def alive_columns(call: OpenCall) -> dict[str, Any]:
    """The columns of a call in progress. The body has values without a column, and every text in full."""
    return {**open_columns(call), "body": encode_json(call).decode()}


def closed_columns(record: CallRecord) -> dict[str, Any]:
    """All columns of an ended call, with its whole record."""
    return {
        **open_columns(record),
        "state": "closed",
        "status": _short(record.status, 16),
        "ended_at": record.end_time,
        "duration_s": record.duration_s if math.isfinite(record.duration_s) else 0.0,
        "hangup_reason": _short(record.hangup_reason),
        "hangup_by": _short(record.hangup_by),
        "sip_code": record.sip_code,
        "error": _short(record.error) if record.error else None,
        "body": record.to_json().decode(),
    }


def outbox_columns(record_id: str, node: str, now: datetime) -> dict[str, Any]:
    """A closed record for the sink."""
    return {"record_id": record_id, "node": node, "state": "waiting", "attempts": 0, "due_at": now, "created_at": now, "error": None}


def open_call_of(row: Row) -> OpenCall:
    """The call in progress of a row of `calls`; rows of earlier versions have no body."""
    if row["body"] is not None:
        with contextlib.suppress(msgspec.MsgspecError):
            return _open_decoder.decode(row["body"])
    return OpenCall(
        session_id=row["session_id"],
        call_id=row["call_id"],
        direction=row["direction"],
        caller=row["caller"],
        callee=row["callee"],
        start_time=row["started_at"],
        call_type=row["call_type"],
        ring_time=row["ringing_at"],
        answer_time=row["answered_at"],
        playbook=row["playbook"],
        trunk=row["trunk"],
    )


def with_id(record: CallRecord, record_id: str) -> CallRecord:
    """The same record under another id."""
    return record if record.record_id == record_id else msgspec.structs.replace(record, record_id=record_id)


def row_id(text: str) -> str:
    """The id as stored in the database."""
    return clean_text(text)


def _short(text: str, limit: int = MAX_TEXT) -> str:
    return clean_text(text)[:limit]
