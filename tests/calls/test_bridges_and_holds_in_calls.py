"""Stories of calls that are joined with another one, or put on hold by either side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Call, Network, a_call, fault_in

from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs.events import LegHeld
from active_call.media.sounds.hold_melody import hold_melody
from active_call.testing.fakes.call import FakeLeg

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
## the news
Here is the news of the week in full length, and it takes a while to read. There is bread. There are rolls.
## hello
Hello again.
"""


async def greeted(*calls: Call) -> None:
    for call in calls:
        await call.until(lambda call=call: bool(call.of(events.TrackEnd)))


def bridge_states(call: Call) -> list[tuple[str, str, str | None]]:
    return [(event.state, event.target_session_id, event.reason) for event in call.of(events.Bridge)]


def is_received_back(call: Call) -> bool:
    return "You are back with me." in call.spoken[-2:]


# -- bridges -----------------------------------------------------------------------------------------------------------------------------


def test_bridge_joins_two_calls_and_either_end_gives_the_other_back(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network, session_id="s.1") as one, a_call(PLAYBOOK, network=network, session_id="s.2") as two:
            await greeted(one, two)
            one.session.post(commands.Bridge(target_session_id="s.2"))
            await two.until(lambda: bool(two.of(events.Bridge)))
            assert bridge_states(one) == [("joined", "s.2", None)]
            assert bridge_states(two) == [("joined", "s.1", None)]
            ours, theirs = one.leg.stream, two.leg.stream
            assert ours is not None
            assert theirs is not None
            assert (ours.hears, theirs.hears) == ({theirs}, {ours})
            assert (ours.listens, theirs.listens) == (False, False)
            n_spoken = len(one.spoken), len(two.spoken)
            await asyncio.sleep(60)
            assert (len(one.spoken), len(two.spoken)) == n_spoken  # the agents are quiet
            two.leg.end("caller", "remote_bye")
            await two.over()
            await one.until(lambda: len(one.of(events.Bridge)) == 2)
            assert bridge_states(one)[-1] == ("parted", "s.2", "the other call ended")
            assert ours.hears == set()
            assert ours.listens
            assert one.leg.ended is None
            await one.until(lambda: is_received_back(one))
            await one.quiet()
            await one.says("hello")
            await one.until(lambda: one.spoken[-1] == "Hello again.")

    virtually(story())


def test_unbridge_gives_both_callers_back_to_their_agents(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network, session_id="s.1") as one, a_call(PLAYBOOK, network=network, session_id="s.2") as two:
            await greeted(one, two)
            one.session.post(commands.Bridge(target_session_id="s.2"))
            await one.until(lambda: bool(one.of(events.Bridge)))
            two.session.post(commands.Unbridge(target_session_id="s.7"))
            await two.until(lambda: bool(two.of(events.Error)))
            two.session.post(commands.Unbridge())
            await one.until(lambda: len(one.of(events.Bridge)) == 2)
            assert bridge_states(one)[-1] == ("parted", "s.2", "unbridged")
            assert bridge_states(two)[-1] == ("parted", "s.1", "unbridged")
            for call in (one, two):
                await call.until(lambda call=call: is_received_back(call))
                assert call.leg.stream is not None
                assert not call.leg.stream.hears
            two.session.post(commands.Unbridge())
            await two.until(lambda: len(two.of(events.Error)) == 2)

    virtually(story())


def test_agent_that_speaks_is_stopped_by_a_bridge_and_only_what_was_heard_stays(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with a_call(PLAYBOOK, network=network, session_id="s.1") as one, a_call(PLAYBOOK, network=network, session_id="s.2") as two:
            await greeted(one, two)
            await one.says("the news")
            await one.until(lambda: len(one.of(events.TrackStart)) == 2)
            await asyncio.sleep(1.0)
            two.session.post(commands.Bridge(target_session_id="s.1"))
            await one.until(lambda: bool(one.of(events.Interruption)))
            (cut,) = one.of(events.Interruption)
            assert 0.9 <= cut.current / 1000 <= 1.3
            assert one.of(events.AddHistory)[-1].text == cut.subtitle

    virtually(story())


def test_bridge_that_cannot_be_is_an_error_and_changes_nothing(virtually: Any) -> None:
    async def story() -> None:
        network = Network()
        async with (
            a_call(PLAYBOOK, network=network, session_id="s.1") as one,
            a_call(PLAYBOOK, network=network, session_id="s.2") as two,
            a_call(PLAYBOOK, network=network, session_id="s.3") as three,
            a_call(None, network=network, session_id="s.unanswered"),
        ):
            await greeted(one, two, three)
            one.session.post(commands.Bridge(target_session_id="s.2"))
            await one.until(lambda: bool(one.of(events.Bridge)))
            for call, target in ((one, "s.1"), (one, "s.3"), (three, "s.2"), (three, "s.unanswered"), (three, "s.nobody")):
                n_errors = len(call.of(events.Error))
                call.session.post(commands.Bridge(target_session_id=target))
                await call.until(lambda call=call, n=n_errors: len(call.of(events.Error)) == n + 1)
            one.session.post(commands.Refer(callee="sip:a@b"))
            await one.until(lambda: "bridged" in one.of(events.Error)[-1].error)
            assert one.leg.stream is not None
            assert one.leg.stream.hears == {two.leg.stream}
            assert three.leg.stream is not None
            assert three.leg.stream.hears == set()
            assert [len(call.of(events.Bridge)) for call in (one, two, three)] == [1, 1, 0]

    virtually(story())


# -- hold --------------------------------------------------------------------------------------------------------------------------------


def test_hold_by_the_peer_stops_the_agent_and_it_goes_on_at_the_exact_sample(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, option=CallOption(inactivity_timeout=30)) as call:
            await greeted(call)
            await call.says("the news")
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(1.0)
            call.leg.sink(LegHeld(True))
            await call.until(lambda: bool(call.of(events.Hold)))
            assert (call.of(events.Hold)[0].on_hold, call.of(events.Hold)[0].initiator) == (True, "caller")
            assert call.leg.stream is not None
            assert not call.leg.stream.listens
            n_events = len(call.events)
            await call.leg.speak(2.0)  # the music that the caller plays to itself
            await asyncio.sleep(600)
            assert len(call.events) == n_events
            assert call.leg.ended is None
            call.leg.sink(LegHeld(False))
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            assert call.leg.stream.listens
            whole = "Here is the news of the week in full length, and it takes a while to read. There is bread. There are rolls."
            heard = "".join(sentence for sentence in call.spoken[1:])
            assert heard.replace(" ", "") == whole.replace(" ", "")  # nothing is said twice, nothing is left out
            assert call.of(events.Interruption) == []
            assert abs(call.of(events.TrackEnd)[-1].duration - len(" ".join(call.spoken[1:])) * 60) < 200

    virtually(story())


@pytest.mark.parametrize(("mode", "direction", "has_music"), [("sendonly", "sendonly", True), ("inactive", "inactive", False)])
def test_hold_by_command_plays_music_and_is_told_when_it_is_true(virtually: Any, mode: str, direction: str, has_music: bool) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            await call.says("the news")
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            call.session.post(commands.Hold(mode=mode))
            await call.until(lambda: bool(call.leg.holds))
            assert call.of(events.Hold) == []  # the peer has not agreed yet
            await call.until(lambda: bool(call.of(events.Hold)))
            assert (call.of(events.Hold)[0].on_hold, call.of(events.Hold)[0].initiator) == (True, "system")
            stream = call.leg.stream
            assert stream is not None
            assert (stream.music == hold_melody(8000)) is has_music
            n_ended = len(call.of(events.TrackEnd))
            await asyncio.sleep(300)
            assert len(call.of(events.TrackEnd)) == n_ended
            call.session.post(commands.Unhold())
            await call.until(lambda: len(call.of(events.Hold)) == 2)
            assert call.leg.holds == [direction, "sendrecv"]
            assert stream.music == b""
            await call.until(lambda: len(call.of(events.TrackEnd)) == n_ended + 1)

    virtually(story())


def test_hold_that_the_peer_refuses_is_told_so_and_the_agent_goes_on(virtually: Any) -> None:
    async def story() -> None:
        leg = FakeLeg(agrees_to_hold=488)
        async with a_call(PLAYBOOK, leg=leg) as call:
            await greeted(call)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Error)))
            assert (call.of(events.Error)[0].sender, call.of(events.Error)[0].code) == ("hold", 488)
            assert call.of(events.Hold) == []
            assert leg.stream is not None
            assert (leg.stream.music, leg.stream.listens) == (b"", True)
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")
            leg.agrees_to_hold = 200
            call.session.post(commands.Hold())  # another try is free
            await call.until(lambda: bool(call.of(events.Hold)))

    virtually(story())


def test_unhold_that_the_peer_refuses_leaves_it_on_hold(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            call.leg.agrees_to_hold = 500
            call.session.post(commands.Unhold())
            await call.until(lambda: bool(call.of(events.Error)))
            assert call.of(events.Error)[0].error == "the peer refuses to be taken back from hold (500)"
            assert [event.on_hold for event in call.of(events.Hold)] == [True]
            assert call.leg.stream is not None
            assert call.leg.stream.music
            call.leg.agrees_to_hold = 200
            call.session.post(commands.Unhold())
            await call.until(lambda: len(call.of(events.Hold)) == 2)

    virtually(story())


def test_holds_that_make_no_sense_are_errors(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.session.post(commands.Hold())  # before the answer
            await call.until(lambda: len(call.of(events.Error)) == 1)
            await greeted(call)
            call.session.post(commands.Unhold())
            call.session.post(commands.Hold(mode="mute"))
            call.session.post(commands.Hold())
            call.session.post(commands.Hold())
            await call.until(lambda: len(call.of(events.Error)) == 4)
            assert [fault_in(event)[0] for event in call.of(events.Error)] == ["hold", "unhold", "hold", "hold"]

    virtually(story())


def test_both_sides_on_hold_are_both_to_be_taken_back(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            call.leg.sink(LegHeld(True))
            call.session.post(commands.Unhold())
            await call.until(lambda: len(call.of(events.Hold)) == 3)
            assert call.leg.stream is not None
            assert not call.leg.stream.listens
            call.leg.sink(LegHeld(False))
            await call.until(lambda: len(call.of(events.Hold)) == 4)
            assert call.leg.stream.listens

    virtually(story())
