"""Engine processes with functions of the standard library, which the process can import as well as any engine's."""

from __future__ import annotations

import asyncio
import calendar
import math
import os
import signal
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from active_call.base.errors import ProviderBusy, ProviderError
from active_call.providers.local import engine_pool, local_engines
from active_call.providers.local.local_engines import EngineProcesses


def run(scenario: object) -> None:
    asyncio.run(scenario)  # type: ignore[arg-type]


async def closing(engines: EngineProcesses, work: object) -> None:
    try:
        await work  # type: ignore[misc]
    finally:
        await engines.close()


def test_function_runs_in_another_process_of_lower_priority() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        pid = await engines.run(os.getpid)
        assert pid != os.getpid()
        assert await engines.run(os.getpid) == pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 5)

    run(closing(engines, work()))


def test_modules_do_not_wait_for_each_other() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        slow = asyncio.ensure_future(engines.run(time.sleep, 60))
        assert await engines.run(calendar.isleap, 2024)
        assert not slow.done()
        slow.cancel()

    run(closing(engines, work()))


def test_crash_fails_what_was_in_flight_and_the_next_request_finds_a_new_process() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        first = await engines.run(os.getpid)
        waiting = [asyncio.ensure_future(engines.run(os._exit, 3)), asyncio.ensure_future(engines.run(os.getpid))]
        with pytest.raises(ProviderError, match="process died") as caught:
            await waiting[0]
        assert caught.value.retryable
        assert await waiting[1] != first

    run(closing(engines, work()))


def test_killed_process_is_replaced() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        pid = await engines.run(os.getpid)
        os.kill(pid, signal.SIGKILL)
        first = await asyncio.gather(engines.run(os.getpid), return_exceptions=True)
        assert isinstance(first[0], ProviderError) and first[0].retryable
        assert await engines.run(os.getpid) != pid

    run(closing(engines, work()))


@pytest.mark.parametrize(
    ("die", "words"),
    [((os._exit, 3), "its process ended with exit code 3"), ((signal.raise_signal, signal.SIGKILL), "its process was ended by SIGKILL (")],
)
def test_log_says_how_a_process_has_ended(die: tuple[Any, ...], words: str, caplog: pytest.LogCaptureFixture) -> None:
    engines = EngineProcesses()

    async def work() -> None:
        with pytest.raises(ProviderError, match="process died"):
            await engines.run(*die)
        await engines.run(os.getpid)

    run(closing(engines, work()))
    (lost,) = [record for record in caplog.records if record.message == "engine process lost"]
    assert lost.reason.startswith(words)  # type: ignore[attr-defined]


def test_hung_request_is_killed_at_its_limit() -> None:
    engines = EngineProcesses(request_limit_s=0.3)

    async def work() -> None:
        with pytest.raises(ProviderError, match="hung") as caught:
            await engines.run(signal.pause)
        assert caught.value.retryable

    run(closing(engines, work()))


def test_request_that_is_abandoned_does_not_hold_up_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "ABANDONED_LIMIT_S", 0.2)
    engines = EngineProcesses()

    async def work() -> None:
        await engines.run(time.sleep, 0)  # the process has loaded
        first = asyncio.ensure_future(engines.run(time.sleep, 20))
        await asyncio.sleep(1)
        first.cancel()
        assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        async with asyncio.timeout(10):
            await engines.run(time.sleep, 0)
            done = asyncio.ensure_future(engines.run(time.sleep, 0.01))
            await asyncio.sleep(0)
            done.cancel()  # one that ends in time costs nobody a process
            await engines.run(time.sleep, 0)

    run(closing(engines, work()))


def test_process_that_loads_is_not_killed_when_the_call_that_it_loads_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "ABANDONED_LIMIT_S", 0.05)
    engines = EngineProcesses()

    async def work() -> None:
        first = asyncio.ensure_future(engines.run(time.sleep, 0.5))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.sleep(0)
        assert await engines.run(time.sleep, 0) is None  # behind the first, which goes on

    with pytest.MonkeyPatch.context() as patch:
        lost: list[str] = []
        patch.setattr(engine_pool.logger, "error", lambda message, **_: lost.append(message))
        run(closing(engines, work()))
    assert lost == []


def test_request_that_is_abandoned_in_the_moment_of_its_end_raises_nothing_in_the_loop() -> None:
    errors: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(str(context.get("exception"))))
        request = engine_pool.Request(time.sleep, (0,), loop.create_future(), 0.0)
        async with asyncio.timeout(5) as limit:
            forget = engine_pool.shorten_when_abandoned(request, limit, 1.0)
            request.answer.cancel()  # its callback runs in the loop's next round
            forget()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(work())
    assert errors == []


def test_error_of_the_function_comes_back_with_its_text_and_is_not_retryable() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        with pytest.raises(ProviderError, match="ValueError") as caught:
            await engines.run(math.sqrt, -1)
        assert not caught.value.retryable
        assert await engines.run(math.sqrt, 4) == 2

    run(closing(engines, work()))


def test_request_that_cannot_be_pickled_fails_alone() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        with pytest.raises(ProviderError, match="cannot be sent"):
            await engines.run(math.sqrt, lambda: 1)
        assert await engines.run(math.sqrt, 9) == 3

    run(closing(engines, work()))


def test_cancelled_request_that_still_waits_is_never_run() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        before = await engines.run(os.getpid)
        ahead = asyncio.ensure_future(engines.run(os.getcwd))
        doomed = asyncio.ensure_future(engines.run(os._exit, 1))
        await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(ahead, doomed, return_exceptions=True)
        assert await engines.run(os.getpid) == before

    run(closing(engines, work()))


def test_full_queue_refuses_at_once() -> None:
    engines = EngineProcesses(max_waiting=2)

    async def work() -> None:
        requests = [asyncio.ensure_future(engines.run(calendar.isleap, 2024)) for _ in range(8)]
        results = await asyncio.gather(*requests, return_exceptions=True)
        refused = [result for result in results if isinstance(result, ProviderError)]
        assert refused and all(error.retryable for error in refused)
        assert any(result is True for result in results)

    run(closing(engines, work()))


def test_large_sound_passes_both_ways() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        import zlib

        sound = os.urandom(4_000_000)
        assert await engines.run(zlib.decompress, zlib.compress(sound, 0)) == sound

    run(closing(engines, work()))


def test_close_ends_processes_and_fails_what_waits() -> None:
    engines = EngineProcesses()

    async def work() -> None:
        pid = await engines.run(os.getpid)
        waiting = asyncio.ensure_future(engines.run(signal.pause))
        await asyncio.sleep(0)
        await engines.close()
        with pytest.raises(ProviderError):
            await waiting
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(ProviderError):
            await engines.run(os.getpid)

    run(work())


def test_module_with_several_processes_serves_requests_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engines, "n_usable_cores", lambda: 3)
    engines = EngineProcesses()
    engines.use_all_cores("posix")

    async def work() -> None:
        assert os.getpid.__module__ == "posix"
        await engines.run(os.getpid)
        hanging = [asyncio.ensure_future(engines.run(os.system, "exec sleep 60")) for _ in range(2)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await engines.run(os.getpid) == await engines.run(os.getpid)
        assert not any(request.done() for request in hanging)
        for request in hanging:
            request.cancel()

    run(closing(engines, work()))


def test_one_process_is_enough_while_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engines, "n_usable_cores", lambda: 3)
    engines = EngineProcesses()
    engines.use_all_cores("posix")

    async def work() -> None:
        assert len({await engines.run(os.getpid) for _ in range(5)}) == 1

    run(closing(engines, work()))


def test_background_request_waits_for_the_others_and_few_are_taken() -> None:
    engines = EngineProcesses()
    order: list[str] = []

    async def work() -> None:
        await engines.run(time.sleep, 0)

        async def ask(name: str, *, background: bool) -> None:
            await engines.run(time.sleep, 0.05, background=background)
            order.append(name)

        first = asyncio.ensure_future(ask("first", background=False))
        await asyncio.sleep(0.01)
        forecast = asyncio.ensure_future(ask("forecast", background=True))
        await asyncio.sleep(0)
        with pytest.raises(ProviderError, match="already waiting") as refused:
            await engines.run(time.sleep, 0, background=True)
        assert refused.value.retryable
        await asyncio.gather(first, forecast, ask("second", background=False), ask("third", background=False))
        assert order == ["first", "second", "third", "forecast"]

    run(closing(engines, work()))


def test_abandoned_background_request_does_not_cost_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "ABANDONED_LIMIT_S", 0.05)
    engines = EngineProcesses()

    async def work() -> None:
        pid = await engines.run(os.getpid)
        forecast = asyncio.ensure_future(engines.run(os.system, "sleep 0.4", background=True))
        await asyncio.sleep(0.1)
        forecast.cancel()
        assert await engines.run(os.getpid) == pid

    run(closing(engines, work()))


def test_no_room_is_told_while_a_request_waits_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "LATE_S", 0.1)
    engines = EngineProcesses()

    async def work() -> None:
        await engines.run(time.sleep, 0)
        assert engines.has_room()
        waiting = [asyncio.ensure_future(engines.run(time.sleep, 0.3)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert engines.has_room()
        await asyncio.sleep(0.2)
        assert not engines.has_room()
        await asyncio.gather(*waiting)
        assert engines.has_room()

    run(closing(engines, work()))


def test_requests_that_wait_for_the_first_process_to_load_refuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pool, "LATE_S", 0.1)
    engines = EngineProcesses()

    async def work() -> None:
        loading = [asyncio.ensure_future(engines.run(time.sleep, 0.4))]
        loading += [asyncio.ensure_future(engines.run(time.sleep, 0, max_wait_s=0.05)) for _ in range(3)]
        while not loading[0].done():
            assert engines.has_room()
            await asyncio.sleep(0.02)
        results = await asyncio.gather(*loading, return_exceptions=True)
        assert [type(result) for result in results[1:]] == [ProviderBusy] * 3
        assert engines.has_room()
        waiting = [asyncio.ensure_future(engines.run(time.sleep, 0.3)) for _ in range(2)]
        await asyncio.sleep(0.25)
        assert not engines.has_room()
        await asyncio.gather(*waiting)

    run(closing(engines, work()))


def test_requests_of_a_hundred_callers_are_served_or_dropped_in_time_and_never_pile_up() -> None:
    engines = EngineProcesses(max_waiting=40)

    async def work() -> None:
        await engines.run(time.sleep, 0)
        asked = []
        for number in range(100):
            asked.append(asyncio.ensure_future(_timed(engines.run(time.sleep, 0.05 if number else 0.5, max_wait_s=1.0))))
            await asyncio.sleep(0)
            while number == 0 and engines._pools["time"].n_waiting:
                await asyncio.sleep(0.001)  # until the process begins it
        assert not engines.has_room()
        results = await asyncio.gather(*asked)
        served = [number for number, (error, _) in enumerate(results) if error is None]
        assert all(error is None or type(error) is ProviderBusy for error, _ in results)
        assert served[0] == 0  # it was begun at once
        waits_s = [results[number][1] for number in served]
        assert waits_s == sorted(waits_s)  # in the order of arrival
        assert served[1] >= 59  # the oldest were dropped: the queue takes 40
        assert 2 <= len(served) <= 41
        assert max(waited_s for _, waited_s in results) < 3.0
        assert not engines.has_room()  # it has dropped some a moment ago

    run(closing(engines, work()))


async def _timed(work: Awaitable[object]) -> tuple[Exception | None, float]:
    began = time.monotonic()
    try:
        await work
    except ProviderError as error:
        return error, time.monotonic() - began
    return None, time.monotonic() - began


def test_request_that_does_not_perish_is_refused_when_the_queue_is_full_and_drops_nothing_of_its_kind() -> None:
    engines = EngineProcesses(max_waiting=2)

    async def work() -> None:
        await engines.run(time.sleep, 0)
        first = []
        for _ in range(3):
            first.append(asyncio.ensure_future(engines.run(time.sleep, 0.5)))
            await asyncio.sleep(0)
            while len(first) == 1 and engines._pools["time"].n_waiting:
                await asyncio.sleep(0.001)  # until the process begins it; the other two wait
        with pytest.raises(ProviderError, match="already waiting") as caught:
            await engines.run(time.sleep, 0.2, max_wait_s=1.0)
        assert caught.value.retryable
        assert await asyncio.gather(*first) == [None] * 3

    run(closing(engines, work()))


def test_further_process_takes_no_request_before_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engines, "n_usable_cores", lambda: 2)
    engines = EngineProcesses()
    engines.use_all_cores("time", time.sleep, 30.0)

    async def work() -> None:
        await engines.run(time.sleep, 0)
        async with asyncio.timeout(10):
            await asyncio.gather(*(engines.run(time.sleep, 0.05) for _ in range(6)))

    run(closing(engines, work()))
