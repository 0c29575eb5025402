"""examples/two_callers.py: several callers at once."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from active_call.contract.events import Bridge
from active_call.testing.virtual_call import Caller, Incoming, virtual_run

Load = Callable[[str], ModuleType]
ADA, BOB, EVE = "sip:ada@example.com", "sip:bob@example.com", "sip:eve@example.com"


async def waits_for_somebody(caller: Caller) -> None:
    await caller.hears("You are the first")
    await caller.is_over()


async def talks_and_leaves(caller: Caller) -> None:
    await caller.hears("Somebody is here already")
    await caller.waits(20)
    await caller.hangs_up()


def test_second_caller_meets_the_first(load: Load) -> None:
    result = virtual_run(
        load("two_callers").app,
        callers=[Incoming(waits_for_somebody, caller=ADA), Incoming(talks_and_leaves, after_s=10, caller=BOB)],
    )
    ada, bob = result.calls_with(ADA)[0], result.calls_with(BOB)[0]
    assert [event.state for event in bob.events if isinstance(event, Bridge)] == ["joined"]
    assert (bob.ended_by, ada.ended_by) == ("caller", "agent")
    assert "has left" in ada.said


def test_who_stays_is_told_that_the_other_has_left(load: Load) -> None:
    async def leaves(caller: Caller) -> None:
        await caller.hears("You are the first")
        await caller.waits(20)
        await caller.hangs_up()

    async def stays(caller: Caller) -> None:
        await caller.hears("has left")
        await caller.is_over()

    result = virtual_run(load("two_callers").app, callers=[Incoming(leaves, caller=ADA), Incoming(stays, after_s=10, caller=BOB)])
    assert [call.ended_by for call in result.calls] == ["caller", "agent"]


def test_caller_who_leaves_the_lobby_is_not_connected(load: Load) -> None:
    async def leaves(caller: Caller) -> None:
        await caller.hears("You are the first")
        await caller.waits(2)
        await caller.hangs_up()

    lobby = load("two_callers")
    callers = [
        Incoming(leaves, caller=ADA),
        Incoming(waits_for_somebody, after_s=20, caller=BOB),
        Incoming(talks_and_leaves, after_s=30, caller=EVE),
    ]
    result = virtual_run(lobby.app, callers=callers)
    assert "has left" in result.calls_with(BOB)[0].said
    assert lobby.lobby == []
