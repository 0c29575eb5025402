"""How stories of the conformance suite begin and end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from far_end import AGES_S, Habits, Party, Stage

from active_call.base.errors import ActiveCallError
from active_call.contract.options import CallOption
from active_call.legs.abilities import Transferable, dtmf, holdable, texting, transferable
from active_call.legs.events import LegReady

OPTION = CallOption()
TARGET = "sip:boss@example.com"
OUR_WORDS = ("agent", "goodbye", "all is said")


async def answered(stage: Stage, **habits: Any) -> Party:
    """An inbound call that is up."""
    party = await stage.incoming(Habits(**habits))
    await party.leg.ring()
    await party.leg.accept(OPTION)
    await party.until_told(LegReady)
    return party


async def placed(stage: Stage, **habits: Any) -> Party:
    """A call of ours on its way."""
    party = await stage.outgoing(Habits(**habits))
    await party.leg.dial(OPTION)
    return party


async def reached(stage: Stage, **habits: Any) -> Party:
    """A call of ours that is up."""
    party = await placed(stage, **habits)
    await party.until_told(LegReady)
    return party


UP = pytest.mark.parametrize("make", [answered, reached], ids=["inbound", "outbound"])


def words(party: Party) -> tuple[str, str, str]:
    return party.end.by, party.end.cause, party.end.reason


async def buried(party: Party) -> None:
    """The end came once, nothing follows it, and both sides know of it."""
    await party.until(lambda: party.is_over)
    n_told = len(party.events)
    await party.leg.release()
    await asyncio.sleep(AGES_S)
    assert party.end is party.events[-1]
    assert len(party.events) == n_told
    assert party.seen.is_over


def call_in_vain(party: Party) -> None:
    """Each operation that needs a call raises ActiveCallError where there is none."""
    leg = party.leg
    for operation in (
        lambda: texting(leg).send_message("hello", "text/plain", {}),
        lambda: dtmf(leg).send_digits_by_signalling("1", 160),
        lambda: transferable(leg).refer(TARGET, {}),
        lambda: holdable(leg).hold(True),
        lambda: holdable(leg).hold(False),
    ):
        with pytest.raises(ActiveCallError):
            operation()
    if isinstance(leg, Transferable):
        leg.answer_transfer(True)
        leg.notify_transfer(180, "Ringing", final=False)
        leg.notify_transfer(200, "OK", final=True)
