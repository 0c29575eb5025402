"""examples/ivr.py: keys, a spoken order, and the desk."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from active_call.testing.virtual_call import Caller, virtual_call

Load = Callable[[str], ModuleType]


def test_hours_are_told_and_the_menu_comes_again(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("Welcome")
        await caller.press("1")
        await caller.hears("seven to six")
        await caller.hears("press 0")
        await caller.hangs_up()

    result = virtual_call(load("ivr").app, caller)
    assert result.ended_by == "caller"


def test_key_cuts_the_menu_short_and_the_order_is_kept(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.is_answered()
        await caller.waits(1)
        await caller.press("2")
        await caller.hears("say your order")
        await caller.says("two loaves of rye")
        await caller.hears("You have ordered: two loaves of rye")

    result = virtual_call(load("ivr").app, caller)
    assert result.ended_by == "agent"
    assert "press 0" not in result.said
    assert result.record.variables["order"] == "two loaves of rye"


def test_caller_who_does_not_order_is_told_goodbye(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.hears("Welcome")
        await caller.press("2")
        await caller.hears("say your order")
        await caller.hears("not understood an order")

    assert virtual_call(load("ivr").app, caller).ended_by == "agent"


def test_wrong_keys_and_silence_end_with_goodbye(load: Load) -> None:
    async def presses(caller: Caller) -> None:
        await caller.hears("press 0")
        await caller.press("7")
        await caller.hears("press 0")
        await caller.press("#")
        await caller.hears("Goodbye")

    async def is_silent(caller: Caller) -> None:
        await caller.hears("Goodbye")

    assert virtual_call(load("ivr").app, presses).ended_by == "agent"
    assert virtual_call(load("ivr").app, is_silent).ended_by == "agent"


def test_desk_is_reached(load: Load) -> None:
    ivr = load("ivr")

    async def desk(desk: Caller) -> None:
        await desk.is_answered()
        await desk.waits(20)
        await desk.hangs_up()

    async def caller(caller: Caller) -> None:
        await caller.hears("Welcome")
        await caller.press("0")
        await caller.hears("One moment")
        await caller.is_over()

    result = virtual_call(ivr.app, caller, others={ivr.DESK: desk}, allows_refer=False)
    assert result.placed == (ivr.DESK,)
    assert result.record.status == "answered"


def test_busy_desk_is_told_to_the_caller(load: Load) -> None:
    ivr = load("ivr")

    async def caller(caller: Caller) -> None:
        await caller.hears("Welcome")
        await caller.press("0")
        await caller.hears("nobody is free")

    result = virtual_call(ivr.app, caller, others={ivr.DESK: 486}, allows_refer=False)
    assert result.ended_by == "agent"
