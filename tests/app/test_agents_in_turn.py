"""Agents that hold one call's conversation one after another, of either kind: with a chat model, or with a speech-to-speech model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from active_call import Agent, Call, tool
from active_call.contract import events
from active_call.testing.fakes.providers import ToolUse
from active_call.testing.virtual_call import Caller, CallResult, virtual_call

PLAIN = "Harbour Street Bakery, hello, this is the reception."
SPOKEN = "Good day, this is the kitchen, what can I bake for you?"


class Finishing(Agent):
    @tool
    def goodbye(self) -> str:
        """The caller has all that was wanted."""
        self.finish("done")
        return "say goodbye"


class Plain(Finishing):
    instructions = "You answer for Harbour Street Bakery."
    greeting = PLAIN
    llm = "openai/gpt-4o-mini"


class Speaking(Finishing):
    instructions = "You are the kitchen."
    greeting = "Good day."
    realtime = "fake/a-model"


MODEL = [ToolUse("goodbye"), "I give you the kitchen.", ToolUse("goodbye"), "Goodbye from the reception."]
REALTIME = [SPOKEN, "call goodbye", "I give you back.", SPOKEN, "call goodbye", "Goodbye from the kitchen."]


def said_by_agents(result: CallResult) -> list[str]:
    return [text for who, text in result.transcript if who == "agent"]


def test_agents_of_both_kinds_hold_a_conversation_in_turn() -> None:
    outcomes: list[Any] = []

    async def take(call: Call) -> None:
        await call.answer()
        outcomes.extend([await call.converse(kind()) for kind in (Plain, Speaking, Plain, Speaking)])

    async def caller(caller: Caller) -> None:
        goodbyes = (PLAIN, "the kitchen"), (SPOKEN, "you back"), (PLAIN, "the reception"), (SPOKEN, "the kitchen")
        for number, (greeting, goodbye) in enumerate(goodbyes):
            await caller.hears(greeting)
            await caller.waits(1.0)
            await caller.says(f"the {number}th wish")
            await caller.hears(goodbye)

    result = virtual_call(take, caller, model=MODEL, realtime=REALTIME)
    assert [outcome.result for outcome in outcomes] == ["done"] * 4
    said = said_by_agents(result)
    assert said[::2] == [PLAIN, SPOKEN, PLAIN, SPOKEN]
    assert said[1::2] == ["I give you the kitchen.", "I give you back.", "Goodbye from the reception.", "Goodbye from the kitchen."]
    assert [text for who, text in result.transcript if who == "caller"] == [f"the {number}th wish" for number in range(4)]
    assert (result.record.status, result.record.error) == ("answered", None)
    assert not [event for event in result.events if isinstance(event, events.Error)]
    assert len([event for event in result.events if isinstance(event, events.AsrFinal)]) == 4  # nobody listens beside the agent
    assert result.record.engines == {"realtime": {"provider": "fake", "reason": "realtime.provider"}}


@pytest.mark.parametrize("first", [Plain, Speaking])
def test_program_hears_the_caller_after_an_agent_of_either_kind(first: type[Agent]) -> None:
    heard: list[str] = []

    async def take(call: Call) -> None:
        await call.answer()
        heard.append(str(await call.ask("Your name, please?")))
        await call.converse(first())
        heard.append(str(await call.ask("Were you satisfied?")))

    async def caller(caller: Caller) -> None:
        await caller.hears("name")
        await caller.says("Mary")
        await caller.hears("hello" if first is Plain else "Good day")
        await caller.waits(1.0)
        await caller.says("that is all")
        await caller.hears("satisfied")
        await caller.says("very much so")

    virtual_call(take, caller, model=[ToolUse("goodbye"), "Bye."], realtime=[SPOKEN, "call goodbye", "Bye."])
    assert heard == ["Mary", "very much so"]


def test_reply_that_stands_still_when_its_agent_leaves_keeps_nobody_silent() -> None:
    """The caller speaks over the agent, whose reply pauses: it is cut by the program just then."""

    class Wordy(Plain):
        greeting = f"{PLAIN} We are open from nine to five, and on Saturdays from ten to one. What can I do for you today?"

    async def take(call: Call) -> None:
        await call.answer()
        try:
            async with asyncio.timeout(2.4):
                await call.converse(Wordy())
        except TimeoutError:
            await call.say("We are closed now.")

    async def caller(caller: Caller) -> None:
        await caller.waits(2.0)
        await caller.says("but I only wanted to", duration_s=1.0)
        await caller.hears("closed now", timeout_s=20)

    result = virtual_call(take, caller)
    assert said_by_agents(result)[-1] == "We are closed now."


def test_playbook_with_a_speech_to_speech_model_takes_over_from_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    book = tmp_path / "kitchen.md"
    book.write_text("---\nrealtime: {provider: fake}\ngreeting: Good day.\n---\nYou are the kitchen.\n", encoding="utf-8")

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Plain())
        await call.run_playbook("kitchen.md")

    async def caller(caller: Caller) -> None:
        await caller.hears(PLAIN)
        await caller.says("the kitchen, please")
        await caller.hears(SPOKEN)
        await caller.says("rolls")
        await caller.hears("They are warm")

    result = virtual_call(take, caller, model=[ToolUse("goodbye"), "One moment."], realtime=[SPOKEN, "They are warm."])
    assert said_by_agents(result) == [PLAIN, "One moment.", SPOKEN, "They are warm."]
    assert result.record.playbook.endswith("kitchen.md")
