from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from active_call.base.errors import ConfigError, ProviderBusy, ProviderError
from active_call.base.world import World
from active_call.providers.guarding.guard import Guard, Limits
from active_call.testing.virtual_time import VirtualClock, run_virtually

LIMITS = Limits(first_result_s=10, next_result_s=5, attempts=2, retry_delay_s=0.2, failures_until_open=3, open_s=5)


def guard(limits: Limits = LIMITS) -> Guard:
    return Guard("vendor", World(clock=VirtualClock(asyncio.get_running_loop())), limits)


async def collect(stream: AsyncIterator[str]) -> list[str]:
    return [item async for item in stream]


def test_call_that_fails_retryably_is_tried_again() -> None:
    async def run() -> None:
        answers: list[object] = [ProviderError("vendor", "busy", retryable=True), "done"]

        async def attempt() -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        wall = guard()
        assert await wall.call(attempt) == "done"
        assert wall.errors == 1

    run_virtually(run())


def test_call_that_fails_for_good_is_not_tried_again() -> None:
    async def run() -> None:
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            raise ProviderError("vendor", "no such model")

        with pytest.raises(ProviderError, match="no such model"):
            await guard().call(attempt)
        assert attempts == 1

    run_virtually(run())


def test_engine_that_has_too_much_to_do_is_not_asked_again_and_not_taken_for_a_broken_one() -> None:
    async def run() -> None:
        attempts, wall = 0, guard()

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            raise ProviderBusy("vendor", "too much to do")

        for number in range(1, 11):
            with pytest.raises(ProviderBusy):
                await wall.call(attempt)
            assert (attempts, wall.is_refusing) == (number, False)

    run_virtually(run())


def test_call_without_an_answer_ends_at_the_deadline_after_both_attempts() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ProviderError, match="within 10 s") as caught:
            await guard().call(asyncio.Event().wait)
        assert caught.value.retryable
        assert loop.time() == pytest.approx(2 * 10 + 0.2)

    run_virtually(run())


def test_stream_is_not_retried_once_something_was_heard() -> None:
    async def run() -> None:
        begun = 0

        async def source() -> AsyncIterator[str]:
            nonlocal begun
            begun += 1
            yield "a"
            raise ProviderError("vendor", "lost", retryable=True)

        stream = guard().stream(source)
        assert await anext(stream) == "a"
        with pytest.raises(ProviderError, match="lost"):
            await anext(stream)
        assert begun == 1

    run_virtually(run())


def test_stream_that_fails_before_its_first_result_is_begun_again() -> None:
    async def run() -> None:
        begun = 0

        async def source() -> AsyncIterator[str]:
            nonlocal begun
            begun += 1
            if begun == 1:
                raise httpx.ConnectError("refused")
            yield "a"

        assert await collect(guard().stream(source)) == ["a"]

    run_virtually(run())


def test_stream_deadline_counts_the_provider_only_and_not_a_slow_listener() -> None:
    async def run() -> None:
        async def source() -> AsyncIterator[str]:
            yield "a"
            yield "b"
            await asyncio.sleep(0.06)
            yield "never"

        stream = guard(Limits(next_result_s=0.05)).stream(source)
        for expected in ("a", "b"):
            assert await anext(stream) == expected
            await asyncio.sleep(0.08)
        with pytest.raises(ProviderError, match=r"within 0\.05 s"):
            await anext(stream)

    run_virtually(run())


def test_stream_closed_by_its_listener_closes_the_source() -> None:
    async def run() -> None:
        closed = False

        async def source() -> AsyncIterator[str]:
            nonlocal closed
            try:
                yield "a"
                yield "b"
            finally:
                closed = True

        wall = guard()
        stream = wall.stream(source)
        assert await anext(stream) == "a"
        await stream.aclose()  # type: ignore[attr-defined]
        assert closed and wall.errors == 0

    run_virtually(run())


def test_circuit_opens_after_failures_in_a_row_and_closes_after_a_success() -> None:
    async def run() -> None:
        works = False

        async def attempt() -> str:
            if not works:
                raise ProviderError("vendor", "down", retryable=True)
            return "up"

        wall = guard()
        for _ in range(2):
            with pytest.raises(ProviderError):
                await wall.call(attempt)
        errors = wall.errors
        with pytest.raises(ProviderError, match="not asked"):
            await wall.call(attempt)
        assert wall.errors == errors and wall.refused >= 1
        works = True
        await asyncio.sleep(5.1)
        assert await wall.call(attempt) == "up"
        assert await wall.call(attempt) == "up"

    run_virtually(run())


def test_unforeseen_error_becomes_a_provider_error_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def attempt() -> None:
        raise ZeroDivisionError("oops")

    async def run() -> None:
        with pytest.raises(ProviderError, match="unforeseen ZeroDivisionError: oops") as caught:
            await guard().call(attempt)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    with caplog.at_level(logging.WARNING):
        run_virtually(run())
    assert [record.message for record in caplog.records] == ["provider failed"]
    assert caplog.records[0].exc_info


def test_config_error_passes_unchanged() -> None:
    async def attempt() -> None:
        raise ConfigError("asr.language", "no")

    async def run() -> None:
        with pytest.raises(ConfigError):
            await guard().call(attempt)

    run_virtually(run())
