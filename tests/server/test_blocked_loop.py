"""What blocks the event loop is logged while it does."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from active_call.server import blocked_loop
from active_call.server.blocked_loop import blocks_reported


def test_function_that_blocks_the_loop_is_named_while_it_does(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_loop, "BEAT_S", 0.05)

    async def book_a_table() -> None:
        until = time.monotonic() + 30
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.05)

    async def run() -> None:
        async with blocks_reported(0.2):
            await asyncio.create_task(book_a_table(), name="s1 tool book_a_table c1")
            async with asyncio.timeout(30):
                while len(caplog.records) < 2:
                    await asyncio.sleep(0.05)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    told, over = caplog.records
    assert (told.message, told.levelname) == ("the control process is blocked", "ERROR")
    assert told.task == "s1 tool book_a_table c1"  # type: ignore[attr-defined]
    assert "book_a_table" in told.at.split(" < ")[0] and "test_blocked_loop.py" in told.at  # type: ignore[attr-defined]
    assert over.message == "the control process goes on"
    assert 0.2 <= over.blocked_s < 30  # type: ignore[attr-defined]
