"""Input that is read between the steps of tasks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from active_call.base.one_per_pass import OnePerPass
from active_call.base.urgent_input import MIN_INTERVAL_S, UrgentInput


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


def test_urgent_input_is_read_at_each_step_but_not_more_often_than_the_interval() -> None:
    clock, reads = Clock(), list[float]()
    urgent = UrgentInput(clock)
    urgent.read()  # nobody reads yet
    urgent.reader = lambda: reads.append(clock.now())
    clock.at += MIN_INTERVAL_S
    urgent.read()
    urgent.read()
    assert len(reads) == 1
    clock.at += MIN_INTERVAL_S
    urgent.read()
    assert len(reads) == 2


def test_steps_that_continue_in_one_pass_are_separated_by_a_read() -> None:
    async def story() -> list[str]:
        seen = list[str]()
        steps = OnePerPass(lambda: seen.append("read"))

        async def step() -> None:
            await steps.turn()
            seen.append("step")

        async with asyncio.TaskGroup() as tasks:
            for _ in range(12):
                tasks.create_task(step())
        return seen

    seen = asyncio.run(story())
    assert seen == ["step", *["read", "step"] * 11]
