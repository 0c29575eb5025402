"""Stories of calls whose leg has no optional abilities, or gets the keys of its media late."""

from __future__ import annotations

import asyncio
from typing import Any

from calls_kit import Call, Network, a_call, fault_in

from active_call.contract import commands, events
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.fakes.leg import BareFakeLeg

DESK = "sip:desk@example.com"
PLAYBOOK = """---
llm: {provider: script}
refer: {allow: ["*@example.com"]}
greeting: Welcome.
---
## hello
Hello again.
"""


async def greeted(call: Call) -> None:
    await call.until(lambda: bool(call.of(events.TrackEnd)))


def test_command_that_the_leg_has_no_ability_for_is_an_error_and_the_call_goes_on(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=BareFakeLeg()) as call:  # type: ignore[arg-type]
            await greeted(call)
            for command in (commands.Hold(), commands.Message(body="hello"), commands.Dtmf(digits="1", method="info")):
                call.session.post(command)
            await call.until(lambda: len(call.of(events.Error)) == 3)
            assert [fault_in(event) for event in call.of(events.Error)] == [
                ("hold", "a websocket call cannot be put on hold"),
                ("message", "a websocket call cannot carry a text message"),
                ("dtmf", "a websocket call cannot send digits as signalling; use method 'inband'"),
            ]
            await call.says("hello")
            await call.until(lambda: "Hello again." in call.spoken)
            assert call.leg.ended is None

    virtually(story())


def test_digits_of_ours_go_as_sound_where_there_is_no_other_way(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=BareFakeLeg()) as call:  # type: ignore[arg-type]
            await greeted(call)
            call.session.post(commands.Dtmf(digits="1#", duration=100))
            await asyncio.sleep(1)
            assert [event.play_id for event in call.of(events.TrackEnd)[1:]] == ["dtmf:1#"]
            assert call.leg.stream is not None
            assert call.leg.stream.hears_tones == (True, False)

    virtually(story())


def test_transfer_of_a_call_without_refer_is_made_by_a_call_of_ours(virtually: Any) -> None:
    async def story() -> None:
        target = FakeLeg(call_id="far-call-id", caller="", callee=DESK)
        async with a_call(PLAYBOOK, leg=BareFakeLeg(), network=Network([target])) as call:  # type: ignore[arg-type]
            await greeted(call)
            call.session.post(commands.Refer(callee=DESK))
            await call.until(lambda: "connected" in [event.state for event in call.of(events.Transfer)])
            assert target.answered

    virtually(story())


def test_greeting_of_a_call_whose_keys_come_late_is_heard_from_its_beginning(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=BareFakeLeg(keys_after_s=2.0)) as call:  # type: ignore[arg-type]
            await call.until(lambda: bool(call.of(events.Answer)))
            await asyncio.sleep(1.9)
            assert (call.of(events.TrackEnd), call.of(events.MediaReady)) == ([], [])
            await greeted(call)
            assert len(call.of(events.MediaReady)) == 1
            assert ([event.subtitle for event in call.of(events.TrackEnd)], call.of(events.Interruption)) == ([None], [])

    virtually(story())
