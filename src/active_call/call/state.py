"""The overall state of a call: its phase and the facts for records and lists.

Phases only move forward:

    new -> ringing -> answered -> ended        (any phase may jump to ended)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from active_call.legs.leg import Leg


class Phase(IntEnum):
    """How far a call has come."""

    NEW = 0
    RINGING = 1
    ANSWERED = 2
    ENDED = 3


@dataclass(slots=True)
class CallFacts:
    """The facts of one call. Times are aware UTC; None: has not happened."""

    session_id: str
    direction: str
    """`inbound` or `outbound`."""
    call_type: str
    caller: str
    callee: str
    call_id: str
    """The protocol's own id of the call."""
    started_at: datetime
    phase: Phase = Phase.NEW
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str = ""
    ended_by: str = ""
    sip_code: int | None = None
    error: str = ""
    playbook: str = ""
    trunk: str = ""
    """The trunk that it uses; empty if none."""
    engines: dict[str, dict[str, str]] = field(default_factory=dict)
    """By section (`asr`, `tts`, `llm`): the engine, and why it was selected (`Selection.as_facts`)."""
    variables: dict[str, Any] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)
    """The call's usage so far, by engine (`usage.account.Row.as_json`)."""
    cost: dict[str, Any] | None = None
    """Its cost (`usage.account.Account.cost_json`); None if nothing was used."""

    def reach(self, phase: Phase, at: datetime) -> bool:
        """Move forward to `phase`; False if the call had already reached it."""
        if phase <= self.phase:
            return False
        self.phase = phase
        if phase is Phase.RINGING:
            self.ringing_at = at
        elif phase is Phase.ANSWERED:
            self.answered_at = at
        elif phase is Phase.ENDED:
            self.ended_at = at
        return True

    def who(self) -> dict[str, Any]:
        """The parties, for the log."""
        return {"direction": self.direction, "caller": self.caller, "callee": self.callee, "trunk": self.trunk}

    @property
    def over_at(self) -> datetime:
        """When it ended; for a call in progress, when it began."""
        return self.ended_at or self.started_at

    @property
    def duration_s(self) -> float:
        """From the answer to the end; 0 if it was not answered."""
        return (self.ended_at - self.answered_at).total_seconds() if self.answered_at and self.ended_at else 0.0

    @property
    def status(self) -> str:
        """`active`, `answered` (and ended), `rejected` or `failed`."""
        if self.phase is not Phase.ENDED:
            return "active"
        if self.error:
            return "failed"
        return "answered" if self.answered_at else "rejected"


def facts_of(leg: Leg, session_id: str, direction: str, started_at: datetime, variables: Mapping[str, Any]) -> CallFacts:
    """The facts of a new call."""
    return CallFacts(
        session_id=session_id,
        direction=direction,
        call_type=leg.kind,
        caller=leg.caller,
        callee=leg.callee,
        call_id=leg.call_id,
        trunk=leg.trunk,
        started_at=started_at,
        variables=dict(variables),
    )
