"""Bulk input shares a limited time in each pass of the event loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from active_call.base.bulk_input import READING_S, BulkInput, BulkSource

STEP_S = 1 / 128


class Clock:
    """A clock that goes on when an item is handled."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


class Socket:
    """A source whose items take `STEP_S` each."""

    def __init__(self, bulk: BulkInput, clock: Clock, told: list[object]) -> None:
        self._clock, self._told = clock, told
        self.source: BulkSource[object] = BulkSource(bulk, self._handle, lambda: told.append("pause"), lambda: told.append("resume"))

    def _handle(self, item: object) -> None:
        self._clock.at += STEP_S
        if item == "bad":
            raise ValueError(item)
        self._told.append(item)


def test_what_exceeds_the_time_of_a_pass_waits_and_leaves_room_for_others() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=4 * STEP_S, cpu_s=clock.now)
        socket = Socket(bulk, clock, told)
        socket.source.take(*range(10))
        assert told == [0, 1, 2, 3]
        assert socket.source.is_waiting
        passes = []
        while socket.source.is_waiting:
            await asyncio.sleep(0)  # a timer, a signal, another socket
            passes.append(len(told))
        assert passes == [8, 10]
        assert told == list(range(10))
        assert bulk.behind_s == 0.0

    asyncio.run(story())


def test_what_is_more_urgent_is_read_before_each_item_also_of_those_that_waited() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=2 * STEP_S, cpu_s=clock.now, before_item=lambda: told.append("read"))
        source = Socket(bulk, clock, told).source
        source.take_one(0)
        source.take(1, 2)
        while source.is_waiting:
            await asyncio.sleep(0)
        assert told == ["read", 0, "read", 1, "read", 2]

    asyncio.run(story())


def test_items_of_all_sources_are_handled_in_order_of_arrival() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=STEP_S, cpu_s=clock.now)
        one, other = Socket(bulk, clock, told), Socket(bulk, clock, told)
        one.source.take("a", "b", "c")
        other.source.take("d")
        while one.source.is_waiting or other.source.is_waiting:
            await asyncio.sleep(0)
        assert told == ["a", "b", "c", "d"]

    asyncio.run(story())


def test_socket_is_not_read_while_its_input_waits_so_no_more_than_two_reads_are_kept() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        socket = Socket(BulkInput(clock, budget_s=STEP_S, cpu_s=clock.now), clock, told)
        socket.source.take(1, 2)
        assert "pause" not in told  # usually the next pass handles it, before anything arrives
        socket.source.take(3)
        assert told == [1, "pause"]
        while socket.source.is_waiting:
            await asyncio.sleep(0)
        assert told == [1, "pause", 2, 3, "resume"]

    asyncio.run(story())


def test_loop_that_cannot_keep_up_is_ever_longer_behind() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=2 * STEP_S, cpu_s=clock.now)
        socket = Socket(bulk, clock, told)
        behind = []
        for _ in range(20):
            socket.source.take(*range(4))  # twice what a pass handles
            await asyncio.sleep(0)
            behind.append(bulk.behind_s)
        assert behind == sorted(behind)
        assert behind[-1] > 15 * 2 * STEP_S

    asyncio.run(story())


def test_fault_of_a_late_item_reaches_no_other_source() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=STEP_S, cpu_s=clock.now)
        one, other = Socket(bulk, clock, told), Socket(bulk, clock, told)
        one.source.take("a", "bad", "b")
        other.source.take("c")
        while one.source.is_waiting or other.source.is_waiting:
            await asyncio.sleep(0)
        assert told == ["a", "b", "c"]

    asyncio.run(story())


def test_waiting_items_of_a_closed_socket_are_handled_at_once_or_dropped() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        bulk = BulkInput(clock, budget_s=STEP_S, cpu_s=clock.now)
        one, other = Socket(bulk, clock, told), Socket(bulk, clock, told)
        one.source.take("a", "b", "c")
        other.source.take("d")
        one.source.flush()
        assert told == ["a", "b", "c"]
        other.source.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told == ["a", "b", "c"]
        assert bulk.behind_s == 0.0

    asyncio.run(story())


def test_cpu_time_is_read_only_when_the_clock_leaves_it_open() -> None:
    async def story() -> None:
        clock, told, readings = Clock(), list[object](), list[float]()

        def cpu_s() -> float:
            readings.append(clock.at)
            return clock.at

        source: BulkSource[object] = BulkSource(BulkInput(clock, cpu_s=cpu_s), told.append)
        for _ in range(5):  # passes of the loop
            for _ in range(7):
                source.take_one("sound")
            clock.at += READING_S / 8
            await asyncio.sleep(0)
        assert (len(told), len(readings)) == (35, 1)

    asyncio.run(story())


def test_process_that_waits_for_a_core_handles_as_much_as_another() -> None:
    async def story() -> None:
        clock, told = Clock(), list[object]()
        used = Clock()
        bulk = BulkInput(clock, budget_s=4 * STEP_S, cpu_s=used.now)

        def handle(item: object) -> None:
            used.at += STEP_S
            clock.at += 5 * STEP_S  # a neighbour runs most of the time
            told.append(item)

        source: BulkSource[object] = BulkSource(bulk, handle)
        source.take(*range(10))
        assert told == [0, 1, 2, 3]
        await asyncio.sleep(0)
        assert len(told) == 8

    asyncio.run(story())
