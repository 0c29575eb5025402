"""The usage of a telephone leg: seconds from its answer to its end, billed by its trunk. Pure."""

from __future__ import annotations

from datetime import datetime

from active_call.legs.leg import Leg
from active_call.providers.usage.units import Billed, Unit, Used


def leg_use(leg: Leg, trunk: str, direction: str, answered_at: datetime | None, ended_at: datetime) -> Used | None:
    """The usage of `leg`; None if it was not answered, is not a telephone, or uses no configured trunk."""
    if leg.kind != "sip" or not trunk or answered_at is None or ended_at <= answered_at:
        return None
    seconds = round((ended_at - answered_at).total_seconds(), 3)
    return Used(Billed("telephony", trunk.lower(), direction), {Unit.SECONDS: seconds})
