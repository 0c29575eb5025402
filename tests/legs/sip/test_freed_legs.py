"""A SIP leg whose call has ended is freed at once, without the garbage collector."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import ref

import pytest
from far_end import AGES_S, Habits
from leg_stories import OPTION
from sip_far_end import SipStage

from active_call.testing.virtual_time import run_virtually

pytestmark = pytest.mark.usefixtures("without_collector")


class Stage(SipStage):
    """Its own memory of the leg can be cleared."""

    def forget(self) -> None:
        """Forget the leg that has come in."""
        self._incoming = None


async def is_left(*, is_inbound: bool) -> bool:
    stage = Stage()
    party = await (stage.incoming(Habits()) if is_inbound else stage.outgoing(Habits()))
    leg = party.leg
    if is_inbound:
        await leg.ring()
        await leg.accept(OPTION)
    else:
        await leg.dial(OPTION)
    await asyncio.sleep(3)
    leg.attach(lambda _: None)
    party.far.hangs_up()
    await asyncio.sleep(AGES_S)
    await leg.release()
    there: ref[Any] = ref(leg)
    stage.forget()
    for stream in stage.streams:
        vars(stream).clear()  # a real stream is forgotten by its process, and with it who gets its reports
    del leg, party
    await asyncio.sleep(AGES_S)
    return there() is not None


@pytest.mark.parametrize("is_inbound", [True, False], ids=["inbound", "outbound"])
def test_ended_leg_is_freed_without_the_garbage_collector(is_inbound: bool) -> None:
    assert not run_virtually(is_left(is_inbound=is_inbound))
