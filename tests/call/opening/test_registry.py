"""Admission and drain: who is refused, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "calls"))

from calls_kit import Engines, Records

from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.refused_calls import RefusedCalls
from active_call.call.opening.registry import CLOSING_S, HURRIED_S, CallRegistry, NoRoom
from active_call.call.opening.routing import Decision, IncomingCall, Playbooks, Refused
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered
from active_call.legs.sip.refusals import RefusedCall
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import run_virtually


def a_registry(http: httpx.AsyncClient, records: Records, *, has_room: bool = True) -> CallRegistry:
    services = CallDependencies(World(), Engines(), http, records, Playbooks(Path, {}))  # type: ignore[arg-type]
    return CallRegistry(services, None, None, lambda: has_room)  # type: ignore[arg-type]


def test_call_while_draining_is_a_503_and_running_calls_are_ended_with_a_record() -> None:
    async def story() -> None:
        records, running, late = Records(), FakeLeg(), FakeLeg()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.handle_incoming(running)
            await asyncio.sleep(0.01)
            draining = asyncio.create_task(registry.drain(0.2))
            await asyncio.sleep(0.01)
            registry.handle_incoming(late)
            assert late.rejected == (503, "Draining")
            with pytest.raises(NoRoom):
                registry.place(CallOption(callee="sip:x@example.com"))
            await draining
        assert registry.calls == {}
        assert [record.session_id for record in records.written if record.hangup_reason == "shutdown"] == [records.begun[0].session_id]
        refused = [(record.direction, record.sip_code, record.error) for record in records.written if record.hangup_reason == "rejected"]
        assert refused == [("inbound", 503, "draining"), ("outbound", 503, "draining")]
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("call ", "s."))]

    asyncio.run(story())


def test_call_while_full_is_a_503_and_starts_nothing() -> None:
    async def story() -> None:
        leg = FakeLeg()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, Records(), has_room=False)
            registry.handle_incoming(leg)
            assert leg.rejected is not None
            assert leg.rejected[0] == 503
            assert registry.calls == {}

    asyncio.run(story())


def test_call_when_the_days_budget_is_spent_is_a_503_with_its_reason_and_a_record() -> None:
    async def story() -> None:
        leg, records, told = FakeLeg(), Records(), []  # type: ignore[var-annotated]
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.on_refused = told.append
            registry.spending.day.limit(1.0)
            assert registry.is_accepting
            registry.spending.day.add(1.5)
            assert not registry.is_accepting and registry.refuses_because == "budget"
            registry.handle_incoming(leg)
            assert leg.rejected == (503, "Budget of the day is spent") and told == ["budget"]
            with pytest.raises(NoRoom, match="budget"):
                registry.place(CallOption(callee="sip:x@example.com"))
        assert [(record.sip_code, record.error) for record in records.written] == [(503, "budget"), (503, "budget")]

    asyncio.run(story())


class HungLeg(FakeLeg):
    """Its release never returns, and its end is never told."""

    async def release(self) -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    def hang_up(self, *, headers: object, by: str, cause: str, reason: str) -> None:
        self.said_goodbye = True


class StubbornLeg(HungLeg):
    """Its release also ignores that it is cancelled, for some time."""

    async def release(self) -> dict[str, object]:
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSING_S
        while loop.time() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(until - loop.time())
        return {}


class BrokenLeg(FakeLeg):
    """Hanging it up raises, and so does its release."""

    async def release(self) -> dict[str, object]:
        raise RuntimeError("broken")

    def hang_up(self, *, headers: object, by: str, cause: str, reason: str) -> None:
        raise RuntimeError("broken too")


def virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(story())


def test_call_whose_release_hangs_or_breaks_has_a_record_and_keeps_no_other_from_ending() -> None:
    async def story() -> None:
        records, legs = Records(), [HungLeg(), BrokenLeg(), FakeLeg()]
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            for leg in legs:
                registry.handle_incoming(leg)
            await asyncio.sleep(0.01)
            await registry.drain(0)
        assert len(records.written) == 3
        assert {record.session_id for record in records.written} == {call.session_id for call in records.begun}
        assert legs[0].said_goodbye

    virtually(story)


def test_drain_that_is_cancelled_ends_the_calls_at_once_and_loses_no_record() -> None:
    async def story() -> None:
        records, leg = Records(), FakeLeg()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.handle_incoming(leg)
            await asyncio.sleep(0.01)
            draining = asyncio.create_task(registry.drain(3600))
            for _ in range(3):
                await asyncio.sleep(0.01)
                draining.cancel()
            began = asyncio.get_running_loop().time()
            await asyncio.gather(draining, return_exceptions=True)
            assert asyncio.get_running_loop().time() - began < 10
        assert [record.hangup_reason for record in records.written] == ["shutdown"]

    virtually(story)


def test_drain_is_told_once_however_often_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, Records())
            await registry.drain(0)
            await registry.drain(0)

    with caplog.at_level("INFO"):
        virtually(story)
    assert [record.message for record in caplog.records].count("stopping, no new calls are taken") == 1


def test_end_calls_now_ends_the_waiting_of_a_drain() -> None:
    async def story() -> None:
        records, leg = Records(), FakeLeg()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.handle_incoming(leg)
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(20, registry.end_calls_now)
            began = asyncio.get_running_loop().time()
            await registry.drain(3600)
            assert 20 <= asyncio.get_running_loop().time() - began < 30
        assert [record.hangup_reason for record in records.written] == ["shutdown"]

    virtually(story)


def test_end_calls_now_leaves_little_time_to_calls_that_do_not_end() -> None:
    async def story() -> None:
        records, legs, loop = Records(), [StubbornLeg() for _ in range(5)], asyncio.get_running_loop()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            for leg in legs:
                registry.handle_incoming(leg)
            await asyncio.sleep(0.01)
            loop.call_later(20, registry.end_calls_now)
            began = loop.time()
            await registry.drain(3600)
            assert 20 <= loop.time() - began <= 20 + 2 * HURRIED_S + 0.1
            assert {record.session_id for record in records.written} == {call.session_id for call in records.begun}
            await asyncio.sleep(CLOSING_S)

    virtually(story)


def test_call_that_does_not_end_is_waited_for_once() -> None:
    async def story() -> None:
        records, loop = Records(), asyncio.get_running_loop()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.handle_incoming(StubbornLeg())
            await asyncio.sleep(0.01)
            registry.end_calls_now()
            await registry.drain(0)
            assert registry.n_calls == 0
            began = loop.time()
            await registry.drain(0)  # at the end of the server's parts, as after a failed start
            assert loop.time() == began
            await asyncio.sleep(CLOSING_S)
        assert len(records.written) == 1

    virtually(story)


def test_call_that_is_cancelled_before_its_first_step_has_a_record() -> None:
    async def story() -> None:
        records, leg = Records(), FakeLeg()
        async with httpx.AsyncClient() as http:
            registry = a_registry(http, records)
            registry.handle_incoming(leg)
            for task in registry._tasks.values():
                task.cancel()
            await asyncio.sleep(0.01)
        assert [record.session_id for record in records.written] == [records.begun[0].session_id]

    virtually(story)


class SteppedClock:
    """Monotonic time goes on; the time of day is set back by an hour in the middle."""

    def __init__(self) -> None:
        self.step_s = 0.0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def utc_now(self) -> datetime:
        return datetime(2026, 3, 4, 12, tzinfo=UTC) + timedelta(seconds=self.now() - self.step_s)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_clock_that_is_set_changes_no_duration_and_no_order(step_s: float) -> None:
    async def story() -> None:
        records, leg, clock = Records(), FakeLeg(), SteppedClock()
        async with httpx.AsyncClient() as http:
            services = CallDependencies(World(clock=clock), Engines(), http, records, Playbooks(Path, {}))  # type: ignore[arg-type]
            registry = CallRegistry(services, None, None, lambda: True)  # type: ignore[arg-type]
            registry.handle_incoming(leg)
            await asyncio.sleep(1)
            leg.sink(LegAnswered(""))
            await asyncio.sleep(4)
            clock.step_s = step_s
            await asyncio.sleep(4)
            await registry.drain(0)
        (record,) = records.written
        assert 8.0 <= record.duration_s < 12.0
        assert record.start_time < record.answer_time < record.end_time  # type: ignore[operator]
        stamps = [event["timestamp"] for event in record.events]
        assert stamps == sorted(stamps)
        assert stamps[-1] - stamps[0] < 15_000

    virtually(story)


def test_refused_calls_of_a_flood_are_counted_and_others_still_have_records() -> None:
    async def story() -> None:
        records, clock = Records(), SteppedClock()
        refused = RefusedCalls(World(clock=clock), records)
        for index in range(10_000):
            refused.note(RefusedCall("unlisted", 403, caller="<sip:scanner@x>", host=f"203.0.113.{index % 3}"))
        of_flood = len(records.written)
        assert of_flood <= 30
        assert refused.n_unrecorded == 10_000 - of_flood
        refused.note(RefusedCall("trunk_calls", 503, caller='"Ann" <sip:ann@x>;tag=1', host="198.51.100.1", trunk="t", detail="1 call"))
        last = records.written[-1]
        assert (last.caller, last.sip_code, last.status, last.error) == ("sip:ann@x", 503, "rejected", "trunk_calls: 1 call")

    virtually(story)


def test_calls_of_a_wave_let_urgent_input_be_read_before_each_of_their_steps() -> None:
    """Otherwise a refusal waits for the steps of all calls that continue in the same pass of the loop."""

    async def story() -> None:
        n_reads, at_steps = 0, list[int]()

        def read() -> None:
            nonlocal n_reads
            n_reads += 1

        class Deciding:
            async def route(self, call: IncomingCall) -> Decision:
                at_steps.append(n_reads)
                return Refused(486)

        async with httpx.AsyncClient() as http:
            services = CallDependencies(World(), Engines(), http, Records(), Playbooks(Path, {}), before_step=read)  # type: ignore[arg-type]
            registry = CallRegistry(services, Deciding(), None, lambda: True)  # type: ignore[arg-type]
            for _ in range(8):
                registry.handle_incoming(FakeLeg())
            async with asyncio.timeout(60):
                while len(at_steps) < 8:
                    await asyncio.sleep(0.01)
            await registry.drain(0.0)
        assert len(set(at_steps)) == 8

    asyncio.run(story())
