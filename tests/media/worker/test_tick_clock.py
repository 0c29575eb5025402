"""The grid in virtual time: it never drifts, makes up for short stalls without a burst, and gives up long ones."""

from __future__ import annotations

from itertools import pairwise

import pytest

from active_call.media.worker.tick_clock import CATCH_UP_S, TICK_S, TickClock


def test_grid_with_late_starts_does_not_drift() -> None:
    grid = TickClock(100.0)
    for index in range(1000):
        begun, late_s, skipped = grid.begin(grid.due_at + 0.003)
        assert (begun, skipped) == (index, 0)
        assert late_s == pytest.approx(0.003, abs=1e-6)
    assert grid.due_at == pytest.approx(100.0 + 1000 * TICK_S)


def test_grid_after_a_stall_of_70_ms_sends_every_tick_and_no_burst() -> None:
    grid = TickClock(0.0)
    now = 0.07
    starts = []
    for _ in range(10):
        index, _, skipped = grid.begin(now)
        starts.append((index, now))
        assert skipped == 0
        now = max(grid.due_at, now)
    assert [index for index, _ in starts] == list(range(10))
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(starts)]
    assert min(gaps) >= CATCH_UP_S - 1e-9
    assert starts[-1][1] == pytest.approx(9 * TICK_S)


def test_grid_after_a_stall_of_a_second_skips_to_the_present_and_counts() -> None:
    grid = TickClock(0.0)
    grid.begin(0.0)
    index, _, skipped = grid.begin(1.0)
    assert index == 50
    assert skipped == 49
    assert grid.due_at == pytest.approx(51 * TICK_S)


def test_grid_resumed_after_idling_counts_nothing_as_skipped() -> None:
    grid = TickClock(0.0)
    grid.resume(5.013)
    assert grid.due_at == pytest.approx(5.02)
    assert grid.begin(grid.due_at)[2] == 0
