"""Agents with tools in calls, against the real call machine and conversation, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

import pytest

from active_call import Agent, Call, CallEnded, CommandRefused, ConfigError, tool
from active_call.agent.playbook.scenes import Playbook
from active_call.app import agent as agent_module
from active_call.app.tools import bind_tool
from active_call.call.requests import BeginAgent
from active_call.testing.fakes.providers import ToolUse
from active_call.testing.virtual_call import Caller, virtual_call


class Reception(Agent):
    instructions = "You answer for Harbour Street Bakery."
    greeting = "Harbour Street Bakery, hello."
    llm = "openai/gpt-4o-mini"

    def __init__(self) -> None:
        super().__init__()
        self.booked: list[tuple[str, int, str]] = []

    @tool(say_meanwhile="One moment.", cancellable=False)
    async def book(self, call: Call, day: str, people: int = 2) -> str:
        """Book a table."""
        await asyncio.sleep(2)
        self.booked.append((day, people, call.caller))
        return f"booked for {people} on {day}"

    @tool
    def goodbye(self) -> str:
        """The caller has all that was wanted."""
        self.finish("satisfied")
        return "say goodbye"


async def one_wish(caller: Caller) -> None:
    await caller.hears("Harbour Street Bakery, hello.")
    await caller.says("A table for three on Friday please")
    await caller.hears("booked")
    await caller.says("That is all, thank you")
    await caller.is_over()


def test_agent_talks_uses_its_tools_and_finishes_and_the_call_goes_on() -> None:
    agents, outcomes = [], []

    async def take(call: Call) -> None:
        await call.answer()
        agents.append(Reception())
        outcomes.append(await call.converse(agents[0]))
        await call.say("Please rate us.")

    result = virtual_call(
        take,
        one_wish,
        model=[
            ToolUse("book", {"day": "Friday", "people": 3}),
            "Your table is booked.",
            ToolUse("goodbye"),
            "Goodbye then.",
        ],
    )
    assert agents[0].booked == [("Friday", 3, "sip:+15550001@example.com")]
    assert outcomes[0].result == "satisfied"
    assert ("caller", "A table for three on Friday please") in outcomes[0].transcript
    assert [text for who, text in result.transcript if who == "agent"] == [
        "Harbour Street Bakery, hello.",
        "One moment.",
        "Your table is booked.",
        "Goodbye then.",
        "Please rate us.",
    ]


def test_model_is_told_the_schema_of_the_tools_and_their_results() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Reception())

    result = virtual_call(
        take, one_wish, model=[ToolUse("book", {"day": "Friday", "people": 3}), "It is booked.", ToolUse("goodbye"), "Goodbye."]
    )
    first, second = result.prompts[0], result.prompts[1]
    book = next(definition for definition in first.tools if definition.name == "book")
    assert book.description == "Book a table."
    assert book.parameters["properties"]["people"]["type"] == "integer"
    assert book.parameters["required"] == ["day"]
    assert "call" not in book.parameters["properties"]
    assert "Harbour Street Bakery" in first.messages[0].content
    assert any(message.role == "tool" and "booked for 3 on Friday" in message.content for message in second.messages)


def test_wrong_arguments_are_told_to_the_model_and_the_tool_does_not_run() -> None:
    agents = []

    async def take(call: Call) -> None:
        await call.answer()
        agents.append(Reception())
        await call.converse(agents[0])

    result = virtual_call(
        take, one_wish, model=[ToolUse("book", {"day": "Friday", "people": "many"}), "Not booked.", ToolUse("goodbye"), "Bye."]
    )
    assert agents[0].booked == []
    assert any(message.role == "tool" and "people" in message.content for message in result.prompts[1].messages)


def test_callers_hangup_ends_the_conversation_with_call_ended() -> None:
    seen = []

    async def take(call: Call) -> None:
        await call.answer()
        try:
            await call.converse(Reception())
        except CallEnded as ended:
            seen.append(ended.cause)

    async def caller(caller: Caller) -> None:
        await caller.hears("hello.")
        await caller.hangs_up()

    virtual_call(take, caller)
    assert seen == ["remote_bye"]


def test_agents_own_hangup_ends_the_call() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(CallEnded):
            await call.converse(Reception())

    async def caller(caller: Caller) -> None:
        await caller.hears("hello.")
        await caller.says("Bye")
        await caller.is_over()

    assert virtual_call(take, caller, model=["Goodbye. <hangup/>"]).ended_by == "agent"


def test_cancelled_conversation_ends_the_agents_part_and_leaves_the_call() -> None:
    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await call.converse(Reception())
        await call.say("Time is up.")

    async def caller(caller: Caller) -> None:
        await caller.hears("Time is up.")
        await caller.is_over()

    assert virtual_call(take, caller).said.endswith("Time is up.")


def test_second_agent_at_one_time_is_refused_and_one_after_another_is_not() -> None:
    class Quick(Agent):
        greeting = "Quick."

        @tool
        def done(self) -> str:
            """Done."""
            self.finish()
            return "ok"

    async def take(call: Call) -> None:
        await call.answer()
        first = asyncio.ensure_future(call.converse(Quick()))
        await asyncio.sleep(0.2)
        with pytest.raises(CommandRefused):
            await call.converse(Quick())
        await first
        await call.converse(Quick())

    async def caller(caller: Caller) -> None:
        for _ in range(2):
            await caller.hears("Quick.")
            await caller.says("yes")
            await caller.hears("Fine.")
        await caller.is_over()

    result = virtual_call(take, caller, model=[ToolUse("done"), "Fine.", ToolUse("done"), "Fine."])
    assert result.said.count("Quick.") == 2


def test_agent_serves_one_conversation() -> None:
    agent = Reception()

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(agent)
        with pytest.raises(RuntimeError):
            await call.converse(agent)

    virtual_call(take, one_wish, model=[ToolUse("book", {"day": "x"}), "It is booked.", ToolUse("goodbye"), "Bye."])


def test_last_reply_is_heard_also_when_the_tools_own_words_still_sound() -> None:
    class Hurried(Agent):
        greeting = "Hello."

        @tool(say_meanwhile="One moment please, I am closing your file now.")
        def close(self) -> str:
            """Close."""
            self.finish()
            return "say goodbye"

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Hurried())

    async def caller(caller: Caller) -> None:
        await caller.hears("Hello.")
        await caller.says("close it")
        await caller.is_over()

    assert virtual_call(take, caller, model=[ToolUse("close"), "Goodbye and thank you."]).said.endswith("Goodbye and thank you.")


def test_agent_that_has_said_its_last_words_leaves_at_once() -> None:
    """No silence is waited for: the reply tells its end."""
    waited: list[float] = []

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Reception())
        waited.append(asyncio.get_running_loop().time() - last_word_at[-1])

    last_word_at: list[float] = []

    async def caller(caller: Caller) -> None:
        await caller.hears("Harbour Street Bakery, hello.")
        await caller.says("That is all")
        await caller.hears("Goodbye then.")
        last_word_at.append(asyncio.get_running_loop().time())
        await caller.is_over()

    virtual_call(take, caller, model=[ToolUse("goodbye"), "Goodbye then."])
    assert waited[0] < 0.5


def test_schema_knows_literals_defaults_and_optional_values() -> None:
    @tool
    def search(query: str, sort: Literal["date", "price"] = "date", limit: int | None = None) -> str:
        """Search."""
        return query

    described, run = bind_tool(search, None)  # type: ignore[arg-type]
    assert described.parameters["properties"]["sort"]["enum"] == ["date", "price"]
    assert described.parameters["required"] == ["query"]
    assert run(query="x") == "x"
    with pytest.raises(ValueError, match="sort"):
        run(query="x", sort="size")


def test_class_in_place_of_an_agent_is_told() -> None:
    class Reception(Agent):
        instructions = "You answer."

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Reception)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"such as Reception\(\)"):
        virtual_call(take, Caller.is_over)


def test_parameter_without_annotation_is_told() -> None:
    @tool
    def search(query) -> str:  # type: ignore[no-untyped-def]
        """Search."""
        return query

    with pytest.raises(TypeError, match="query"):
        bind_tool(search, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "provider", "model"),
    [
        ("openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openai/meta-llama/llama-4", "openai", "meta-llama/llama-4"),
        ("gpt-4o-mini", None, "gpt-4o-mini"),
        ("anthropic/", "anthropic", None),
    ],
)
def test_model_of_an_agent_is_named_with_its_provider_or_alone(given: str, provider: str | None, model: str | None) -> None:
    class Named(Agent):
        llm = given

    async def begun() -> BeginAgent:
        return Named().begin(cast("Call", None))[0]

    book = asyncio.run(begun()).playbook
    assert isinstance(book, Playbook)
    assert (book.llm.provider, book.llm.model) == (provider, model)


def test_agent_with_settings_of_its_own_needs_no_super_init() -> None:
    class Greeter(Agent):
        def __init__(self, name: str) -> None:
            self.greeting = f"Hello {name}."
            self.instructions = f"You talk with {name}."

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Greeter("Ada"))

    async def caller(caller: Caller) -> None:
        await caller.hears("Hello Ada.")
        await caller.hangs_up()

    assert virtual_call(take, caller, model=["unused"]).said == "Hello Ada."


def look_up(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def test_agent_gets_plain_functions_and_the_tools_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "load_tools", {"weather": (look_up,)}.__getitem__)

    def count(people: int) -> int:
        """How many chairs are needed."""
        return people + 1

    class Host(Agent):
        tools = (count, "weather")

    async def take(call: Call) -> None:
        await call.answer()
        await call.converse(Host())

    async def caller(caller: Caller) -> None:
        await caller.says("How many chairs, and what about the weather?")
        await caller.hears("Four")
        await caller.hangs_up()

    result = virtual_call(
        take, caller, model=[ToolUse("count", {"people": 3}), ToolUse("look_up", {"city": "Graz"}), "Four, and it rains."]
    )
    offered = {definition.name: definition.description for definition in result.prompts[0].tools}
    assert offered["count"] == "How many chairs are needed."
    assert offered["look_up"] == "The weather of a city."
    told = [message.content for message in result.prompts[2].messages if message.role == "tool"]
    assert [content for content in told if "4" in content]
    assert [content for content in told if "rain in Graz" in content]


def test_agent_with_unknown_tools_says_which_there_are() -> None:
    class Host(Agent):
        tools = ("no-such-tools",)

    async def take(call: Call) -> None:
        await call.answer()
        with pytest.raises(ConfigError, match="no-such-tools"):
            await call.converse(Host())

    async def caller(caller: Caller) -> None:
        await caller.is_over()

    virtual_call(take, caller)
