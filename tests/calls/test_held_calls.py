"""Stories of calls on hold that go to somebody else: whoever is with the agent afterwards is heard, and hears it.

Phones put the call on hold before they transfer it. Each story is a hold (by the peer, by the peer without sound, by us) while the agent
speaks, is silent or waits for a tool, and then one way in which the call changes hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from calls_kit import Always, Call, Network, a_call, assert_sounds_as_said

from active_call.agent.playbook.scenes import LlmOption, Playbook, Scene
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.call.opening.routing import LeftOpen
from active_call.call.requests import BeginAgent, EndAgent
from active_call.contract import commands, events
from active_call.contract.options import CallOption, RecorderOption, ReferOption
from active_call.testing.fakes.call import FakeLeg, FakeStream
from active_call.testing.fakes.providers import FakeResponder, ToolUse

DESK = "sip:desk@example.com"
ATTENDED = "sip:desk@example.com?Replaces=7a%40example.com%3Bto-tag%3D1%3Bfrom-tag%3D2"
GREETING = "Welcome to the switchboard of the company."
ANSWER = "It is on its way to you."
WELCOMING = CallOption(refer=ReferOption(on_request="bridge"))
HOLDS = ["by the peer", "by the peer in silence", "by us"]
DOING = ["silent", "speaking", "tool running"]
PAUSED_FOR_EVER_S = 30.0


class Agent:
    """An agent that a program begins: it greets, and has a tool that answers when `found` is set."""

    def __init__(self) -> None:
        self.found = asyncio.Event()
        self.model = FakeResponder([ToolUse("look_up", text="Let me see."), ANSWER, ANSWER, ANSWER, ANSWER], delay_s=0.02)

    def begin(self) -> BeginAgent:
        async def look_up() -> str:
            await self.found.wait()
            return "found"

        playbook = Playbook(file="agent", scenes=(Scene(id="main", line=1, text="You answer."),), greeting=GREETING, llm=LlmOption())
        return BeginAgent(playbook, ToolRegistry([Tool("look_up", timeout_s=60.0)]), {"look_up": look_up}, self.model)


@asynccontextmanager
async def an_answered_call(**options: Any) -> AsyncIterator[Call]:
    async with a_call(None, router=Always(lambda _: LeftOpen()), **options) as call:
        call.session.post(commands.Accept(option=options.get("option") or CallOption()))
        await call.until(lambda: bool(call.of(events.MediaReady)))
        yield call


async def in_the_middle_of(doing: str, call: Call, agent: Agent) -> None:
    """The agent greets, has greeted, or waits for its tool."""
    await call.session.request(agent.begin())
    await call.until(lambda: bool(call.of(events.TrackStart)))
    if doing == "speaking":
        await asyncio.sleep(0.5)
        return
    await call.until(lambda: bool(call.of(events.TrackEnd)))
    if doing == "tool running":
        await call.says("where is my parcel")
        await call.until(lambda: agent.model.n_tools_used == 1)
        await call.quiet()


async def hold(how: str, call: Call) -> None:
    if how == "by us":
        call.session.post(commands.Hold())
    else:
        call.leg.put_on_hold(True, is_silent=how == "by the peer in silence")
    await call.until(lambda: bool(call.of(events.Hold)))


async def is_with_the_agent(call: Call, leg: FakeLeg, agent: Agent) -> None:
    """Whoever is on `leg` hears the agent, and is answered."""
    await call.quiet()
    assert call.session.state.leg is leg
    stream = stream_of(leg)
    assert_sounds_as_said(call)
    assert (stream.paused, stream.listens, stream.music, stream.hears) == (False, True, b"", set())
    n_heard = len(call.of(events.TrackEnd))
    agent.found.set()
    call.recogniser.will_hear.append("hello")
    await leg.speak()
    await call.until(lambda: len(call.of(events.TrackEnd)) > n_heard, PAUSED_FOR_EVER_S)
    await call.quiet()


def stream_of(leg: FakeLeg) -> FakeStream:
    assert leg.stream is not None
    return leg.stream


def states_of(call: Call) -> list[str]:
    return [event.state for event in call.of(events.Transfer)]


def a_target(**options: Any) -> FakeLeg:
    return FakeLeg(call_id="far-call-id", caller="", callee=DESK, **options)


def a_successor(call: Call, **options: Any) -> FakeLeg:
    return FakeLeg(caller="sip:+15557777@example.com", call_id="new-call-id", replaces=call.leg, **options)


# -- the matrix ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", DOING)
@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize("target", [DESK, ATTENDED])
@pytest.mark.parametrize("leaves_at_once", [False, True])
def test_peer_that_holds_and_refers_us_leaves_us_with_one_who_hears_the_agent(
    virtually: Any, doing: str, how: str, target: str, leaves_at_once: bool
) -> None:
    async def story() -> None:
        desk, agent = a_target(), Agent()
        async with an_answered_call(option=WELCOMING, network=Network([desk])) as call:
            await in_the_middle_of(doing, call, agent)
            await hold(how, call)
            call.leg.ask_for_transfer(target)
            await call.until(lambda: ("progress" if leaves_at_once else "connected") in states_of(call))
            call.leg.end("caller", "remote_bye")
            await call.until(lambda: "completed" in states_of(call))
            assert [event.on_hold for event in call.of(events.Hold)] == [True, False]
            await is_with_the_agent(call, desk, agent)

    virtually(story())


@pytest.mark.parametrize("doing", DOING)
@pytest.mark.parametrize("how", HOLDS)
def test_leg_that_replaces_one_on_hold_hears_the_agent(virtually: Any, doing: str, how: str) -> None:
    async def story() -> None:
        agent = Agent()
        async with an_answered_call() as call:
            await in_the_middle_of(doing, call, agent)
            await hold(how, call)
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: "completed" in states_of(call))
            assert [(event.on_hold, event.initiator) for event in call.of(events.Hold)][1] == (
                (False, "system") if how == "by us" else (False, "caller")
            )
            await is_with_the_agent(call, successor, agent)

    virtually(story())


@pytest.mark.parametrize("doing", DOING)
@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize(("ends_first", "asked_by"), [("hold", "the call"), ("bridge", "the call"), ("hold", "the operator")])
def test_call_that_is_bridged_on_hold_comes_back_to_its_agent(virtually: Any, doing: str, how: str, ends_first: str, asked_by: str) -> None:
    """The other call is that of somebody who takes this one over, and has no agent."""

    async def story() -> None:
        network, agent = Network(), Agent()
        async with an_answered_call(network=network) as call, an_answered_call(network=network, session_id="s.other") as other:
            await in_the_middle_of(doing, call, agent)
            await hold(how, call)
            n_started = len(call.of(events.TrackStart))
            if asked_by == "the operator":
                other.session.post(commands.Bridge(target_session_id="s.test"))
            else:
                call.session.post(commands.Bridge(target_session_id="s.other"))
            await call.until(lambda: bool(call.of(events.Bridge)))
            for ends in (ends_first, "bridge" if ends_first == "hold" else "hold"):
                if ends == "bridge":
                    other.session.post(commands.Unbridge())
                    await call.until(lambda: len(call.of(events.Bridge)) == 2)
                elif how == "by us":
                    call.session.post(commands.Unhold())
                else:
                    call.leg.put_on_hold(False)
                await asyncio.sleep(2.0)
                assert_sounds_as_said(call)
                if ends == "hold" and ends_first == "hold":  # nothing of the agent sounds between the two that are joined
                    assert len(call.of(events.TrackStart)) == n_started
                    assert not stream_of(call.leg).is_playing
            await is_with_the_agent(call, call.leg, agent)

    virtually(story())


@pytest.mark.parametrize("doing", DOING)
@pytest.mark.parametrize("how", HOLDS)
def test_agent_that_takes_over_a_held_call_greets_when_the_hold_is_over(virtually: Any, how: str, doing: str) -> None:
    async def story() -> None:
        first, second = Agent(), Agent()
        async with an_answered_call() as call:
            await in_the_middle_of(doing, call, first)
            await hold(how, call)
            await call.session.request(EndAgent())
            await call.session.request(second.begin())
            n_started = len(call.of(events.TrackStart))
            await asyncio.sleep(120)
            assert len(call.of(events.TrackStart)) == n_started
            if how == "by us":
                call.session.post(commands.Unhold())
            else:
                call.leg.put_on_hold(False)
            await call.until(lambda: len(call.of(events.TrackStart)) == n_started + 1)
            assert call.spoken[-1] == GREETING
            await is_with_the_agent(call, call.leg, second)

    virtually(story())


@pytest.mark.parametrize("doing", DOING)
def test_transfer_of_a_held_call_that_fails_gives_back_a_call_on_hold(virtually: Any, doing: str) -> None:
    async def story() -> None:
        agent = Agent()
        async with an_answered_call(option=WELCOMING, network=Network([a_target(answers=False)])) as call:
            await in_the_middle_of(doing, call, agent)
            await hold("by the peer", call)
            call.leg.ask_for_transfer(DESK)
            await call.until(lambda: "failed" in states_of(call))
            n_heard = len(call.of(events.TrackStart))
            await asyncio.sleep(5.0)
            assert_sounds_as_said(call)
            assert len(call.of(events.TrackStart)) == n_heard
            call.leg.put_on_hold(False)
            await is_with_the_agent(call, call.leg, agent)

    virtually(story())


# -- the new leg's own hold ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["connected", "after the peer has left"])
def test_target_that_has_put_us_on_hold_is_spoken_to_when_it_is_back(virtually: Any, when: str) -> None:
    async def story() -> None:
        desk, agent = a_target(answers_after_s=2.0), Agent()
        async with an_answered_call(option=WELCOMING, network=Network([desk])) as call:
            await in_the_middle_of("silent", call, agent)
            call.leg.ask_for_transfer(DESK)
            await call.until(lambda: "connected" in states_of(call))
            if when == "connected":
                desk.put_on_hold(True)
                await asyncio.sleep(0.5)
                call.leg.end("caller", "remote_bye")
            else:
                call.leg.end("caller", "remote_bye")
                desk.put_on_hold(True)  # before the call has worked off the end of the other leg
            await call.until(lambda: "completed" in states_of(call))
            n_heard = len(call.of(events.TrackStart))
            await asyncio.sleep(5.0)
            assert_sounds_as_said(call)
            assert call.session.parts.machine.now.held_by_peer
            assert len(call.of(events.TrackStart)) == n_heard
            desk.put_on_hold(False)
            await is_with_the_agent(call, desk, agent)
            assert call.spoken.count(GREETING) == 1  # a model is told that it speaks with somebody else

    virtually(story())


def test_leg_that_replaces_ours_and_begins_on_hold_is_spoken_to_when_it_is_back(virtually: Any) -> None:
    async def story() -> None:
        agent = Agent()
        async with an_answered_call() as call:
            await in_the_middle_of("silent", call, agent)
            successor = a_successor(call, begins_on_hold=True)
            call.session.take_over(successor)
            await call.until(lambda: "completed" in states_of(call))
            await asyncio.sleep(5.0)
            assert_sounds_as_said(call)
            assert stream_of(successor).paused
            successor.put_on_hold(False)
            await is_with_the_agent(call, successor, agent)

    virtually(story())


def test_call_that_begins_on_hold_is_greeted_when_the_hold_is_over(virtually: Any) -> None:
    async def story() -> None:
        playbook = "---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## hello\nHello again.\n"
        async with a_call(playbook, leg=FakeLeg(begins_on_hold=True)) as call:
            await asyncio.sleep(60)
            assert not call.of(events.TrackStart)
            call.leg.put_on_hold(False)
            await call.until(lambda: bool(call.of(events.TrackEnd)), 5)
            assert call.spoken == ["Welcome."]
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")

    virtually(story())


def test_hold_of_the_old_leg_that_is_answered_late_does_not_hold_the_new_one(virtually: Any) -> None:
    async def story() -> None:
        agent = Agent()
        async with an_answered_call() as call:
            await in_the_middle_of("silent", call, agent)
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: successor.answered)
            call.leg.put_on_hold(True)  # told after the new leg's answer, and worked off when that has taken over
            await call.until(lambda: "completed" in states_of(call))
            await is_with_the_agent(call, successor, agent)
            assert [event.on_hold for event in call.of(events.Hold)] in ([], [True, False])

    virtually(story())


# -- music -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_target_hears_music_while_a_silent_peer_holds_it_and_none_under_the_agent(virtually: Any, when: str) -> None:
    async def story() -> None:
        desk, agent = a_target(), Agent()
        async with an_answered_call(option=WELCOMING, network=Network([desk])) as call:
            await in_the_middle_of("silent", call, agent)
            if when == "before":
                call.leg.put_on_hold(True, is_silent=True)
            call.leg.ask_for_transfer(DESK)
            await call.until(lambda: "connected" in states_of(call))
            if when == "after":
                call.leg.put_on_hold(True, is_silent=True)
            await call.until(lambda: bool(stream_of(desk).music), 1)
            call.leg.end("caller", "remote_bye")
            await call.until(lambda: "completed" in states_of(call))
            await is_with_the_agent(call, desk, agent)

    virtually(story())


# -- commands that hold something back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["refer", "replaces"])
def test_mutes_pauses_and_a_paused_recording_belong_to_the_call_and_not_to_a_leg(virtually: Any, way: str) -> None:
    async def story() -> None:
        desk, agent = a_target(), Agent()
        option = CallOption(refer=ReferOption(on_request="bridge"), recorder=RecorderOption(recorder_file="/tmp/{id}.wav"))
        async with an_answered_call(option=option, network=Network([desk])) as call:
            await in_the_middle_of("silent", call, agent)
            post = call.session.post
            for command in (commands.Mute(), commands.Mute(track_id="caller"), commands.Pause(), commands.Record(action="pause")):
                post(command)
            await asyncio.sleep(0.1)
            assert_sounds_as_said(call)
            if way == "refer":
                leg = desk
                call.leg.ask_for_transfer(DESK)
                await call.until(lambda: "connected" in states_of(call))
                call.leg.end("caller", "remote_bye")
            else:
                leg = a_successor(call)
                call.session.take_over(leg)
            await call.until(lambda: "completed" in states_of(call))
            stream = stream_of(leg)
            assert_sounds_as_said(call)
            assert (stream.muted, stream.muted_tracks, stream.paused, stream.recording_is_paused) == (True, {"caller"}, True, True)
            for command in (commands.Unmute(), commands.Unmute(track_id="caller"), commands.Resume(), commands.Record(action="resume")):
                post(command)
            await is_with_the_agent(call, leg, agent)
            assert (stream.muted, stream.muted_tracks, stream.recording_is_paused) == (False, set(), False)

    virtually(story())


def test_hold_does_not_end_the_pause_that_a_client_has_asked_for(virtually: Any) -> None:
    async def story() -> None:
        agent = Agent()
        async with an_answered_call() as call:
            await in_the_middle_of("speaking", call, agent)
            call.session.post(commands.Pause())
            call.leg.put_on_hold(True)
            call.leg.put_on_hold(False)
            await asyncio.sleep(5.0)
            assert not call.of(events.TrackEnd)
            call.session.post(commands.Resume())
            await call.until(lambda: bool(call.of(events.TrackEnd)), 5)

    virtually(story())


def test_words_that_the_old_leg_was_hearing_are_told_as_cut_when_another_takes_its_place(virtually: Any) -> None:
    async def story() -> None:
        async with an_answered_call() as call:
            call.session.post(commands.Tts(text="one two three four five six seven eight nine ten", play_id="t1"))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            await asyncio.sleep(1.0)
            successor = a_successor(call)
            call.session.take_over(successor)
            await call.until(lambda: "completed" in states_of(call))
            (cut,) = call.of(events.Interruption)
            assert cut.play_id == "t1"
            assert cut.subtitle.startswith("one two")
            assert 1000 <= cut.current <= 1300
            call.session.post(commands.Tts(text="hello", play_id="t1"))
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert len(call.of(events.Interruption)) == 1

    virtually(story())


def test_agent_cannot_begin_in_a_call_that_is_with_somebody_else(virtually: Any) -> None:
    async def story() -> None:
        network, agent = Network(), Agent()
        async with an_answered_call(network=network) as call, an_answered_call(network=network, session_id="s.other"):
            call.session.post(commands.Bridge(target_session_id="s.other"))
            await call.until(lambda: bool(call.of(events.Bridge)))
            with pytest.raises(Exception, match="the call is bridged"):
                await call.session.request(agent.begin())

    virtually(story())
