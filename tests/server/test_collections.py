"""Full passes of the garbage collector in a running server."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from active_call.server.serving import (
    COLLECT_EVERY_S,
    FEW_CALLS,
    MAX_COLLECT_S,
    collect_after_s,
    collect_now_and_then,
    make_collections_rare,
)
from active_call.testing.virtual_time import run_virtually


def test_long_pass_is_followed_by_a_long_pause_and_a_short_one_is_not() -> None:
    assert collect_after_s(0.004) == COLLECT_EVERY_S
    assert 100.0 <= collect_after_s(0.12) <= 130.0
    assert collect_after_s(2.0) == MAX_COLLECT_S


def test_full_pass_waits_for_a_time_with_few_calls_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, passes = [0], list[float]()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(gc, "collect", lambda: passes.append(loop.time()))
        collecting = loop.create_task(collect_now_and_then(lambda: calls[0]))
        began = loop.time()
        await asyncio.sleep(COLLECT_EVERY_S + 1)
        assert len(passes) == 1
        calls[0] = FEW_CALLS
        await asyncio.sleep(3 * COLLECT_EVERY_S)
        assert len(passes) == 1
        calls[0] = FEW_CALLS - 1
        await asyncio.sleep(COLLECT_EVERY_S + 1)
        assert len(passes) == 2
        calls[0] = 500
        await asyncio.sleep(3 * MAX_COLLECT_S)
        collecting.cancel()
        assert 3 <= len(passes) - 2 + 1 <= 4
        assert began < passes[0]

    run_virtually(story())


def test_automatic_passes_cover_few_objects() -> None:
    """A pass over a hundred thousand objects, as with 160 new calls, blocked the loop for 80 ms of processor time."""
    before = gc.get_threshold()
    largest = [0]
    n_young = [0, 0]

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            n_young[info["generation"] > 0] += 1
            count = sum(len(gc.get_objects(generation=each)) for each in range(info["generation"] + 1))
            largest[0] = max(largest[0], count)

    gc.collect()
    try:
        make_collections_rare()
        gc.callbacks.append(note)
        live = [[number] for number in range(60_000)]
        gc.callbacks.remove(note)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        gc.freeze()  # as tests/conftest does
    assert len(live) == 60_000
    assert n_young[1] > 5
    assert largest[0] < 5_000
