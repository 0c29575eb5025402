"""Every program of docs/python.md runs, in virtual time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from active_call.testing.fakes.providers import ToolUse
from active_call.testing.virtual_call import Caller, virtual_call, virtual_run

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = {
    title: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for title, section in re.findall(r"(?ms)^## (.*?)$(.*?)(?=^## |\Z)", TEXT)
    if "```python" in section
}
Check = Callable[[dict[str, Any]], None]


def first_bot(program: dict[str, Any]) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("your name?")
        await caller.says("Ada")
        await caller.hears("Good morning, Ada.")

    virtual_call(program["app"], caller)


def speaking(program: dict[str, Any]) -> None:
    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(0.5)
        await caller.press("#")
        await caller.hears("What would you like?")
        await caller.says("two loaves")
        await caller.hears("Please enter your PIN")
        await caller.press("0000")
        await caller.hears("Please enter your PIN")
        await caller.press("4711")
        await caller.hears("Your order: two loaves. Your PIN has 4 digits")

    async def is_silent(caller: Caller) -> None:
        await caller.hears("received nothing")

    result = virtual_call(program["app"], caller)
    assert "I will be brief" in result.said
    assert result.record.variables["order"] == "two loaves"
    virtual_call(program["app"], is_silent)


def errors(program: dict[str, Any]) -> None:
    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(1)
        await caller.hangs_up()

    assert virtual_call(program["app"], Caller.is_over).said == "Hello Ada."
    virtual_call(program["app"], caller)
    assert [line for line in program["log"] if "hung up" in line] == ["hung up by the caller"]
    assert len(program["log"]) == 3


def several(program: dict[str, Any]) -> None:
    assert virtual_call(program["app"], Caller.is_over, callee="sip:+18005550100@a").said == "Sales."
    assert virtual_call(program["app"], Caller.is_over, caller="sip:anonymous@anonymous.invalid").sip_code == 603
    assert virtual_call(program["app"], Caller.is_over, trunk="office").said == "Hello, colleague."
    assert virtual_call(program["app"], Caller.is_over).sip_code == 404


def transfer(program: dict[str, Any]) -> None:
    async def talks(colleague: Caller) -> None:
        await colleague.hears("A caller for you")
        await colleague.waits(20)
        await colleague.hangs_up()

    desk, colleague = program["DESK"], program["COLLEAGUE"]
    busy = virtual_call(program["app"], Caller.is_over, callee="sip:desk@here", others={desk: 486}, allows_refer=False)
    assert busy.said == "The line is busy."
    assert "has left" in virtual_call(program["app"], Caller.is_over, others={colleague: talks}).said
    assert virtual_call(program["app"], Caller.is_over, others={colleague: 480}).said == "Nobody is there."


def placing(program: dict[str, Any]) -> None:
    async def ada(ada: Caller) -> None:
        await ada.hears("tomorrow at nine")
        await ada.is_over()

    address = "sip:ada@example.com"
    assert [call.ended_by for call in virtual_run(program["app"], program["main"](), others={address: ada}).calls] == ["agent"]
    assert [call.sip_code for call in virtual_run(program["app"], program["main"](), others={address: 486}).calls] == [486]


def many_calls(program: dict[str, Any]) -> None:
    n_live = most = 0

    async def comes(callee: Caller) -> None:
        nonlocal n_live, most
        n_live += 1
        most = max(most, n_live)
        await callee.hears("Press 1")
        await callee.press("1")
        await callee.hears("Thank you")
        n_live -= 1
        await callee.is_over()

    numbers = [f"sip:{n}@example.com" for n in range(15)]
    others: dict[str, Any] = dict.fromkeys(numbers[:12], comes) | {numbers[12]: 486, numbers[13]: 404, numbers[14]: Caller.is_over}
    result = virtual_run(program["app"], program["campaign"](numbers), others=others)
    assert list(result.value.values()) == ["1"] * 12 + ["not reached", "wrong number", "no answer"]
    assert most == 5
    assert [result.placed.count(number) for number in numbers] == [1] * 12 + [3, 1, 1]


def variables(program: dict[str, Any]) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("Press any keys")
        await caller.press("42")
        await caller.waits(1)
        await caller.hangs_up()

    result = virtual_call(program["app"], caller, headers={"X-Campaign": "spring"})
    assert result.record.variables["campaign"] == "spring"
    assert program["keys"] == ["4", "2"]


def own_test(program: dict[str, Any]) -> None:
    program["test_desk_takes_the_call"]()


def agents(program: dict[str, Any]) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("hello.")
        await caller.says("a table for three on Friday")
        await caller.hears("It is booked.")
        await caller.says("that is all")
        await caller.hears("Please rate this call.")

    model = [ToolUse("book", {"day": "Friday", "people": 3}), "It is booked.", ToolUse("end_call"), "Goodbye."]
    assert virtual_call(program["app"], caller, model=model).record.variables["booking"] == "3 on Friday"


CHECKS: dict[str, Check] = {
    "Agents": agents,
    "A first bot": first_bot,
    "Speaking and listening": speaking,
    "Errors, and callers who hang up": errors,
    "Several functions": several,
    "Transfer, hold, bridge": transfer,
    "Placing calls": placing,
    "Many calls": many_calls,
    "Variables, records, events": variables,
    "Testing": own_test,
}


@pytest.mark.parametrize("title", CHECKS)
def test_program_of_the_guide_runs(title: str) -> None:
    (block,) = BLOCKS[title]
    program: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block, f"docs/python.md, {title}", "exec"), program)
    CHECKS[title](program)


def test_every_program_of_the_guide_is_run() -> None:
    assert set(BLOCKS) == set(CHECKS)
