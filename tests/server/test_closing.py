"""The parts of a server are closed within bounded times, also if none of them closes."""

from __future__ import annotations

import asyncio

import pytest

from active_call.server.closing import ALL_S, BACKGROUND_S, HURRIED_S, HURRIED_VITAL_S, LEAST_S, VITAL_S, PartsClosing, background
from active_call.testing.virtual_time import run_virtually


async def hang() -> None:
    """Never end, not even when cancelled."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() > 1000:
                raise


def test_parts_that_never_close_hold_up_the_stop_for_one_time_together(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> tuple[float, float]:
        parts, loop = PartsClosing(), asyncio.get_running_loop()
        for index in range(12):
            await parts.close(f"part {index}", hang)
        all_s = loop.time()
        await parts.close("records", hang, is_vital=True)
        took = all_s, loop.time() - all_s
        await asyncio.sleep(1000)
        return took

    all_s, vital_s = run_virtually(story())
    assert ALL_S <= all_s <= ALL_S + 12 * LEAST_S
    assert vital_s == pytest.approx(VITAL_S)
    assert [record.message for record in caplog.records].count("part does not close; the stop goes on without it") == 13


def test_second_signal_shortens_the_time_of_the_part_that_is_closing_and_of_the_next() -> None:
    async def story() -> tuple[float, float]:
        parts, loop = PartsClosing(), asyncio.get_running_loop()
        loop.call_later(5.0, parts.hurry)
        await parts.close("first", hang)
        first_s = loop.time()
        await parts.close("second", hang)
        await parts.close("records", hang, is_vital=True)
        took = first_s, loop.time() - first_s
        await asyncio.sleep(1000)
        return took

    first_s, rest_s = run_virtually(story())
    assert first_s == pytest.approx(5.0)
    assert rest_s == pytest.approx(HURRIED_S + HURRIED_VITAL_S)


def test_error_of_a_part_is_logged_and_the_next_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("disk")

    closed = []

    async def close() -> None:
        closed.append(True)

    async def story() -> None:
        parts = PartsClosing()
        await parts.close("first", fail)
        await parts.close("second", close)

    run_virtually(story())
    assert closed == [True]
    assert "part could not be closed" in caplog.text


def test_task_that_ignores_its_cancellation_does_not_hold_up_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> float:
        async with background(hang()):
            await asyncio.sleep(1)
        took = asyncio.get_running_loop().time()
        await asyncio.sleep(1000)
        return took

    assert run_virtually(story()) == pytest.approx(1 + BACKGROUND_S)
    assert "a task of the server does not end" in caplog.text
