"""examples/warm_transfer.py: the colleague decides."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from active_call.testing.virtual_call import Caller, virtual_call

Load = Callable[[str], ModuleType]


async def asks_about_an_invoice(caller: Caller) -> None:
    await caller.hears("What is your call about?")
    await caller.says("my invoice")
    await caller.hears("looking for a colleague")
    await caller.is_over()


async def agrees(colleague: Caller) -> None:
    await colleague.waits(3)
    await colleague.press("1")
    await colleague.waits(30)
    await colleague.hangs_up()


async def declines(colleague: Caller) -> None:
    await colleague.waits(3)
    await colleague.press("2")
    await colleague.is_over()


async def is_silent(colleague: Caller) -> None:
    await colleague.is_over(timeout_s=60)


async def hangs_up(colleague: Caller) -> None:
    await colleague.waits(3)
    await colleague.hangs_up()


def test_colleague_who_agrees_gets_the_caller(load: Load) -> None:
    bot = load("warm_transfer")
    result = virtual_call(bot.app, asks_about_an_invoice, others={bot.DESK: agrees})
    assert result.said.endswith("I am looking for a colleague.")
    assert (result.record.transfers[0]["state"], result.ended_by) == ("completed", "callee")


@pytest.mark.parametrize("colleague", [declines, is_silent, hangs_up, 486, 404])
def test_caller_is_told_when_nobody_is_free(load: Load, colleague: object) -> None:
    bot = load("warm_transfer")
    result = virtual_call(bot.app, asks_about_an_invoice, others={bot.DESK: colleague})  # type: ignore[dict-item]
    assert "Nobody is free now" in result.said
    assert result.ended_by == "agent"


def test_caller_who_hangs_up_meanwhile_frees_the_colleague(load: Load) -> None:
    bot = load("warm_transfer")
    freed = []

    async def leaves(caller: Caller) -> None:
        await caller.hears("What is your call about?")
        await caller.says("my invoice")
        await caller.hears("looking for a colleague")
        await caller.waits(4)
        await caller.hangs_up()

    async def colleague(colleague: Caller) -> None:
        await colleague.is_over(timeout_s=30)
        freed.append(True)

    assert virtual_call(bot.app, leaves, others={bot.DESK: colleague}).ended_by == "caller"
    assert freed


def test_caller_who_says_nothing_is_asked_twice_and_the_call_ends(load: Load) -> None:
    async def caller(caller: Caller) -> None:
        await caller.is_over()

    result = virtual_call(load("warm_transfer").app, caller)
    assert result.said.count("What is your call about?") == 2
    assert "cannot hear you" in result.said
    assert result.ended_by == "agent"
