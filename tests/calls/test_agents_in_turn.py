"""Agents that hold one call's conversation one after another: nothing of the one that leaves reaches the one that comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from calls_kit import Always, Call, Engines, a_call, assert_sounds_as_said

from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.playbook.scenes import LlmOption, Playbook, Scene
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.call.opening.routing import Accepted, LeftOpen
from active_call.call.requests import BeginAgent, EndAgent
from active_call.contract import commands, events
from active_call.contract.options import CallOption, RealtimeOption, RecorderOption
from active_call.testing.fakes.providers import FakeResponder, ToolUse
from active_call.testing.fakes.realtime import FakeRealtimeModel

FIRST = "Welcome to the switchboard of the company, which has many rooms."
SECOND = "Good morning, this is the sales department speaking to you."
CASCADE, REALTIME = "cascade", "realtime"


class TwoKinds(Engines):
    """Engines of a test, with a realtime model."""

    def __init__(self, script: Sequence[str]) -> None:
        super().__init__()
        self.realtime = FakeRealtimeModel(script, self.recogniser.will_hear)  # type: ignore[arg-type]

    def get_realtime(self, option: Any, trust: object = None) -> FakeRealtimeModel:
        return self.realtime


@asynccontextmanager
async def an_answered_call(*script: str, option: CallOption = CallOption()) -> AsyncIterator[Call]:  # noqa: B008
    async with a_call(None, router=Always(lambda _: LeftOpen()), engines=TwoKinds(script), option=option) as call:
        call.session.post(commands.Accept(option=option))
        await call.until(lambda: bool(call.of(events.MediaReady)))
        yield call


def an_agent(kind: str = CASCADE, greeting: str = "", model: FakeResponder | None = None, **tools: Any) -> BeginAgent:
    option = CallOption(realtime=RealtimeOption(provider="fake")) if kind == REALTIME else CallOption()
    scenes = (Scene(id="main", line=1, text="You answer."),)
    playbook = Playbook(file="agent", scenes=scenes, greeting=greeting, llm=LlmOption(), option=option)
    registry = ToolRegistry([Tool(name, timeout_s=60.0, cancellable=False) for name in tools])
    return BeginAgent(playbook, registry, tools, model or (FakeResponder() if kind == CASCADE else None))


async def replaced(call: Call, second: BeginAgent) -> None:
    """The agent leaves, and another one begins before the media process can have told the end of what sounded."""
    leaves, begins = call.session.request(EndAgent()), call.session.request(second)
    await leaves
    await begins


def said_by_agents(call: Call) -> list[str]:
    return [event.text for event in call.of(events.AddHistory) if event.speaker in ("agent", "assistant")]


@pytest.mark.parametrize("second", [CASCADE, REALTIME])
@pytest.mark.parametrize("first", [CASCADE, REALTIME])
def test_agent_that_begins_while_the_one_before_it_is_cut_short_is_heard_whole(virtually: Any, first: str, second: str) -> None:
    """The end of the first one's play is told while the second one speaks, under ids that both count alike."""

    async def story() -> None:
        script = [text for kind, text in ((first, FIRST), (second, SECOND)) if kind == REALTIME]
        async with an_answered_call(*script) as call:
            await call.session.request(an_agent(first, FIRST))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            await asyncio.sleep(0.5)
            await replaced(call, an_agent(second, SECOND))
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.quiet()
            cut, *rest = said_by_agents(call)
            assert FIRST.startswith(cut) and 0 < len(cut) < len(FIRST)
            assert rest == [SECOND]
            assert len(call.of(events.Interruption)) == 1

    virtually(story())


def test_words_of_a_model_that_come_late_for_an_agent_that_has_left_are_not_said_by_the_next(virtually: Any) -> None:
    async def story() -> None:
        async with an_answered_call() as call:
            slow = FakeResponder(["These are the words of the first model. There are quite a few of them."], delay_s=0.3)
            await call.session.request(an_agent(model=slow))
            await call.says("hello")
            await call.until(lambda: bool(call.of(events.TrackStart)))
            await replaced(call, an_agent(model=FakeResponder(["The second one speaks. It is short."], delay_s=0.5)))
            await call.says("hello again")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.quiet()
            await asyncio.sleep(10)
            assert " ".join(said_by_agents(call)[-2:]).endswith("The second one speaks. It is short.")
            assert not [text for text in call.spoken if "quite a few" in text]

    virtually(story())


def test_results_of_a_tool_that_come_late_for_an_agent_that_has_left_are_not_told_to_the_next(virtually: Any) -> None:
    async def story() -> None:
        results = {"first": asyncio.Event(), "second": asyncio.Event()}
        started: list[str] = []

        def look_up(name: str) -> Any:
            async def run() -> str:
                started.append(name)
                await results[name].wait()
                return f"found by the {name}"

            return run

        async with an_answered_call() as call:
            models = {name: FakeResponder([ToolUse("look_up"), "There it is."]) for name in results}
            await call.session.request(an_agent(model=models["first"], look_up=look_up("first")))
            await call.says("where is my parcel")
            await call.until(lambda: started == ["first"])
            await replaced(call, an_agent(model=models["second"], look_up=look_up("second")))
            await call.says("and mine")
            await call.until(lambda: started == ["first", "second"])
            results["first"].set()
            await asyncio.sleep(1.0)
            assert not call.spoken
            results["second"].set()
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert "found by the first" not in str(models["second"].requests)
            assert "found by the second" in str(models["second"].requests)

    virtually(story())


def test_realtime_model_hears_the_caller_alone_and_the_recogniser_again_when_its_agent_has_left(virtually: Any) -> None:
    async def story() -> None:
        async with an_answered_call(FIRST) as call:
            await call.says("one")
            await call.until(lambda: len(call.of(events.AsrFinal)) == 1)
            await call.session.request(an_agent(REALTIME, FIRST))
            await call.until(lambda: call.recogniser.closed == 1)
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.session.request(EndAgent())
            await call.quiet()
            await call.says("two")
            await call.until(lambda: len(call.of(events.AsrFinal)) == 2, 5)
            assert [event.text for event in call.of(events.AsrFinal)] == ["one", "two"]
            assert call.engines.realtime.conversations[0].is_closed  # type: ignore[attr-defined]

    virtually(story())


def test_call_that_began_with_a_realtime_model_is_heard_when_its_agent_has_left(virtually: Any) -> None:
    async def story() -> None:
        book = parse_playbook("---\nrealtime: {provider: fake}\n---\nYou sell.\n", file="test.md", environment={})
        async with a_call(None, router=Always(lambda _: Accepted(book)), engines=TwoKinds([])) as call:
            await call.until(lambda: bool(call.of(events.MediaReady)))
            await call.session.request(EndAgent())
            await call.says("hello")
            await call.until(lambda: bool(call.of(events.AsrFinal)), 5)
            assert [event.text for event in call.of(events.AsrFinal)] == ["hello"]

    virtually(story())


def test_what_is_secret_for_an_agent_is_so_no_longer_when_it_has_left(virtually: Any) -> None:
    async def story() -> None:
        text = """---
greeting: Your PIN, please. <collect type="pin" var="pin"/>
llm: {provider: script}
dtmfCollectors: {pin: {digits: 4, secret: true}}
---
## hello
Hello.
"""
        book = parse_playbook(text, file="test.md", environment={})
        recorded = CallOption(recorder=RecorderOption(recorder_file="/tmp/{id}.wav"))
        async with an_answered_call(option=recorded) as call:
            stream: Any = call.leg.stream
            await call.session.request(BeginAgent(book))
            await call.until(lambda: stream.recording_is_paused)
            await call.session.request(EndAgent())
            assert not stream.recording_is_paused
            await call.says("hello")
            await call.until(lambda: bool(call.of(events.AsrFinal)), 5)
            call.leg.end("caller", "remote_bye")
            assert "hello" in str((await call.over()).events)

    virtually(story())


def test_hold_of_an_agent_ends_with_its_part_in_the_call(virtually: Any) -> None:
    async def story() -> None:
        async with an_answered_call() as call:
            model = FakeResponder(['One moment. <hold seconds="60"/>'])
            await call.session.request(an_agent(model=model))
            await call.says("wait")
            await call.until(lambda: bool(call.of(events.Hold)))
            await call.session.request(EndAgent())
            await call.until(lambda: len(call.of(events.Hold)) == 2, 5)
            assert_sounds_as_said(call)
            call.session.post(commands.Tts(text="hello", play_id="t1"))
            await call.until(lambda: any(event.play_id == "t1" for event in call.of(events.TrackEnd)), 5)

    virtually(story())
