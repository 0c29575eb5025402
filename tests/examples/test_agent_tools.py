"""examples/agent_tools.py: an agent with tools, its model scripted."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from active_call.testing.fakes.providers import ToolUse
from active_call.testing.virtual_call import Caller, virtual_call

Load = Callable[[str], ModuleType]


def test_table_is_booked_and_the_booking_is_in_the_record(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("What can I do for you?")
        await caller.says("a table for four on the sixth of March")
        await caller.hears("Done")
        await caller.says("that is all")
        await caller.hears("Goodbye")

    model = [ToolUse("book_table", {"day": "2026-03-06", "people": 4}), "Done, see you then.", ToolUse("end_call"), "Goodbye."]
    result = virtual_call(load("agent_tools").app, caller, model=model)
    assert result.record.variables["booking"] == "4 on 2026-03-06"
    assert "One moment, I am looking." in result.said
    assert result.ended_by == "agent"


def test_booking_for_too_many_is_told_to_the_model(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("What can I do for you?")
        await caller.says("a table for twenty tomorrow")
        await caller.hears("at most eight")
        await caller.hangs_up()

    model = [ToolUse("book_table", {"day": "2026-03-06", "people": 20}), "Sorry, at most eight."]
    result = virtual_call(load("agent_tools").app, caller, model=model)
    assert "booking" not in result.record.variables
    assert any("1 to 8" in message.content for message in result.prompts[1].messages)


def test_caller_who_wants_a_person_is_transferred_and_told_when_nobody_is_there(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("What can I do for you?")
        await caller.says("let me talk to somebody")
        await caller.hears("Nobody is free now.")

    model = [ToolUse("hand_over", {"reason": "wants a person"}), "I am connecting you."]
    result = virtual_call(load("agent_tools").app, caller, model=model, others={"sip:desk@example.com": 486}, allows_refer=False)
    assert result.placed == ("sip:desk@example.com",)
    assert result.record.variables["reason"] == "wants a person"
