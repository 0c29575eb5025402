"""examples/pin_database.py: a real database, looked up in a thread."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from active_call.testing.virtual_call import Caller, virtual_call

Load = Callable[[str], ModuleType]


@pytest.fixture
def bot(load: Load) -> ModuleType:
    module = load("pin_database")
    module.prepare(module.DATABASE)
    return module


async def enter(caller: Caller, number: str, pin: str) -> None:
    await caller.hears("number")
    await caller.press(number)
    await caller.hears("PIN, please")
    await caller.press(pin)


def test_balance_is_read_out(bot: ModuleType) -> None:
    async def caller(caller: Caller) -> None:
        await enter(caller, "1001#", "4711")
        await caller.hears("Hello Ada. Your balance is 12.50 euros")

    result = virtual_call(bot.app, caller)
    assert result.ended_by == "agent"
    assert result.record.variables["customer"] == "1001"


def test_wrong_pin_may_be_tried_again(bot: ModuleType) -> None:
    async def caller(caller: Caller) -> None:
        await enter(caller, "1002#", "9999")
        await caller.hears("do not match")
        await enter(caller, "1002#", "0815")
        await caller.hears("Hello Grace. Your balance is 0.00 euros")

    virtual_call(bot.app, caller)


def test_third_wrong_pin_is_the_last(bot: ModuleType) -> None:
    async def caller(caller: Caller) -> None:
        for _ in range(3):
            await enter(caller, "1001#", "0000")
            await caller.hears("do not match")
        await caller.hears("call again")

    result = virtual_call(bot.app, caller)
    assert "Hello" not in result.said
    assert "customer" not in result.record.variables


def test_caller_who_types_ahead_hears_no_second_prompt(bot: ModuleType) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("customer number")
        await caller.press("1001#4711", every_s=0.05)
        await caller.hears("Hello Ada")

    assert "And your PIN" not in virtual_call(bot.app, caller).said


def test_silence_and_hangup_end_the_call(bot: ModuleType) -> None:
    async def is_silent(caller: Caller) -> None:
        await caller.hears("call again")

    async def leaves(caller: Caller) -> None:
        await caller.hears("customer number")
        await caller.press("10")
        await caller.hangs_up()

    assert virtual_call(bot.app, is_silent).ended_by == "agent"
    assert virtual_call(bot.app, leaves).ended_by == "caller"
