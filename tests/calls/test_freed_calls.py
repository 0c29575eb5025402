"""Ended calls are freed at once. If they were left to the garbage collector, its passes over the live calls would delay all others."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import ref

import pytest
from calls_kit import Call, a_call

from active_call.call.cost.spending import Spending
from active_call.contract import commands, events
from active_call.providers.usage.metering import current_meter
from active_call.providers.usage.units import Billed, Unit, Used
from active_call.testing.fakes.call import FakeLeg

SCRIPT = """---
llm: {provider: script, greeting: Welcome.}
---
# Scene: main

## opening hours | when are you open
We are open from nine to five.

## *
Sorry, I did not understand.
"""
MODEL = """---
llm: {provider: openai, greeting: Welcome., features: [tools]}
---
# Scene: main

Be brief.
"""


pytestmark = pytest.mark.usefixtures("without_collector")


def parts_of(call: Call) -> dict[str, ref[Any]]:
    session = call.session
    found = {"call": session, "agent": session.state.agent}
    kept = ("speech_input", "speech_output", "own_leg", "machine", "attention", "transfers", "setup", "cost")
    return {name: ref(part) for name, part in (found | {name: getattr(session.parts, name) for name in kept}).items()}


async def talk(call: Call, *, is_refused: bool) -> dict[str, ref[Any]]:
    await call.until(lambda: bool(call.of(events.Answer)))
    call.engines.model.will_say = ["Yes, we are."]
    parts = parts_of(call)
    await call.quiet()
    await call.says("When are you open?")
    await call.quiet()
    if is_refused:
        call.session.post(commands.Refer(callee="sip:nobody@example.com"))
        await asyncio.sleep(5)
    call.leg.end("caller", "remote_bye")
    await call.over()
    call.network.sessions.clear()
    return parts


async def left_of(playbook: str, direction: str, *, is_refused: bool = False) -> list[str]:
    """Holds a conversation and returns the parts of the call that are still there a minute after its end."""
    async with a_call(playbook, direction=direction, leg=FakeLeg()) as call:
        parts = await talk(call, is_refused=is_refused)
    del call
    await asyncio.sleep(60)  # cancelled timers of the loop keep the context of their call
    return [name for name, part in parts.items() if part() is not None]


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize("playbook", [SCRIPT, MODEL], ids=["script", "model"])
def test_ended_call_and_its_parts_are_freed_without_the_garbage_collector(playbook: str, direction: str, virtually: Any) -> None:
    assert virtually(left_of(playbook, direction)) == []


def test_call_after_a_refused_transfer_is_freed_without_the_garbage_collector(virtually: Any) -> None:
    assert virtually(left_of(SCRIPT, "inbound", is_refused=True)) == []


class Uses(Spending):
    """Keeps what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Used] = []

    def note(self, used: Used) -> None:
        self.noted.append(used)


class MeteredLeg(FakeLeg):
    """Keeps the meter of the task that answers."""

    def __init__(self) -> None:
        super().__init__()
        self.meters: list[Any] = []

    async def accept(self, option: Any) -> None:
        self.meters.append(current_meter())
        await super().accept(option)


def test_use_that_is_reported_after_the_call_was_freed_counts_for_the_day(virtually: Any) -> None:
    spending, leg = Uses(), MeteredLeg()
    late = Used(Billed("llm", "openai", "m"), {Unit.OUTPUT_TOKENS: 5.0})

    async def held() -> ref[Any]:
        async with a_call(SCRIPT, leg=leg, spending=spending) as call:
            return (await talk(call, is_refused=False))["cost"]

    async def run() -> None:
        cost = await held()
        await asyncio.sleep(60)
        assert cost() is None
        leg.meters[0](late)

    virtually(run())
    assert spending.noted[-1] is late
