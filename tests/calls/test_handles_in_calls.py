"""A call as others see it: by its handle, while it is alive and afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Network, a_call

from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.call.events.subscription import CloseReason
from active_call.call.parties.parties import BRIDGED, PEER, WITH_AGENT, Role
from active_call.call.state import Phase
from active_call.contract import commands, events
from active_call.legs.events import LegHeld

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
## hello
Hello again.
"""


def test_request_is_done_when_it_was_carried_out_and_raises_where_it_cannot(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            handle = call.session.handle()
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await handle.request(commands.Hold())
            assert call.leg.holds == ["sendonly"]
            with pytest.raises(LocalProtocolError, match="already on hold"):
                await handle.request(commands.Hold())
            assert call.of(events.Error) == []
            await handle.request(commands.Hangup(reason="enough"))
            record = await call.over()
            assert record.hangup_reason == "enough"
            with pytest.raises(ActiveCallError, match="the call is over"):
                await handle.request(commands.Unhold())

    virtually(story())


def test_requests_that_wait_when_the_call_ends_are_refused(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.leg.end("caller", "remote_bye")
            waiting = [call.session.handle().request(commands.Pause()) for _ in range(3)]
            await call.over()
            assert [str(one.exception()) for one in waiting] == ["the call is over"] * 3

    virtually(story())


def test_handle_outlives_its_call(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            handle = call.session.handle()
            following = handle.subscribe()
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert handle.describe().phase is Phase.ANSWERED
            await call.says("goodbye")
            handle.send(commands.Hangup())
            await call.over()
            described = handle.describe()
            assert (described.is_over, described.end_reason, described.busy_because != "") == (True, "hangup", True)
            everything = [item async for item in handle.subscribe(from_seq=1)]
            assert [item.seq for item in everything] == list(range(1, len(everything) + 1))
            assert isinstance(everything[-1].event, events.Hangup)
            assert [item.event async for item in following] == [item.event for item in everything]
            assert following.closed is CloseReason.OVER
            handle.send(commands.Hangup())  # changes nothing

    virtually(story())


def test_parties_of_a_call_are_described(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network, session_id="s.1") as one, a_call(PLAYBOOK, network=network, session_id="s.2") as two:
            handle = one.session.handle()
            for call in (one, two):
                await call.until(lambda call=call: bool(call.of(events.TrackEnd)))
            assert handle.describe().mix == WITH_AGENT
            one.session.post(commands.Bridge(target_session_id="s.2"))
            await one.until(lambda: bool(one.of(events.Bridge)))
            assert handle.describe().mix == BRIDGED
            one.leg.sink(LegHeld(True))
            await one.until(lambda: bool(one.of(events.Hold)))
            assert handle.describe().mix == BRIDGED.with_role(PEER, Role.AWAY)

    virtually(story())


def test_call_that_has_just_ended_refuses_a_bridge_at_once(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network, session_id="s.1") as one, a_call(PLAYBOOK, network=network, session_id="s.2") as two:
            for call in (one, two):
                await call.until(lambda call=call: bool(call.of(events.TrackEnd)))
            two.leg.end("caller", "remote_bye")
            one.session.post(commands.Bridge(target_session_id="s.2"))
            began = asyncio.get_running_loop().time()
            await one.until(lambda: bool(one.of(events.Error)))
            assert asyncio.get_running_loop().time() - began < 0.1
            assert "'s.2'" in one.of(events.Error)[0].error
            assert one.of(events.Bridge) == []

    virtually(story())
