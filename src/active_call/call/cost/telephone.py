"""What a telephone leg uses: seconds from its answer to its end, billed by its trunk. Pure."""

from __future__ import annotations

from datetime import datetime

from active_call.legs.leg import Leg
from active_call.providers.usage.units import Billed, Unit, Used


def leg_use(leg: Leg, trunk: str, direction: str, answered_at: datetime | None, ended_at: datetime) -> Used | None:
    """The use of `leg`; None for one that was not answered, is no telephone, or goes by no trunk of ours."""
    if leg.kind != "sip" or not trunk or answered_at is None or ended_at <= answered_at:
        return None
    seconds = round((ended_at - answered_at).total_seconds(), 3)
    return Used(Billed("telephony", trunk.lower(), direction), {Unit.SECONDS: seconds})
