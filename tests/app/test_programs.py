"""The handlers of an application: those that do not end when they are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from active_call.app.programs import CANCELLED_S, GRACE_S, Programs
from active_call.testing.virtual_time import run_virtually


class EndedCall:
    """The part of a call that `Programs` uses, of a call that is over."""

    id = "c1"
    is_over = True

    async def wait_ended(self) -> None:
        pass


def test_handler_that_ignores_its_cancellation_is_logged_and_left(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        let_go = asyncio.Event()

        async def stubborn(_: Any) -> None:
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

        programs, loop = Programs(), asyncio.get_running_loop()
        task = programs.start(stubborn, EndedCall())  # type: ignore[arg-type]
        async with asyncio.timeout(100):
            await task
        assert loop.time() == pytest.approx(GRACE_S + CANCELLED_S)
        programs.start(stubborn, EndedCall())  # type: ignore[arg-type]
        begun = loop.time()
        async with asyncio.timeout(100):
            await programs.close()
        assert loop.time() - begun <= GRACE_S + 2 * CANCELLED_S
        let_go.set()
        await asyncio.sleep(1)

    run_virtually(story())
    assert "handler ignores that it is cancelled" in caplog.text
