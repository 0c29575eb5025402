"""So many a second, over any stretch of time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.rate import Rate


@given(st.floats(0.05, 50), st.lists(st.floats(0, 3), max_size=200))
def test_rate_never_lets_more_pass_in_any_stretch_than_it_says(per_s: float, steps: list[float]) -> None:
    rate, now, passed = Rate(per_s), 0.0, []
    for step in steps:
        now += step
        if rate.take(now):
            passed.append(now)
    n = max(1, int(per_s))
    period_s = n / per_s
    for first, later in zip(passed, passed[n:], strict=False):
        assert later - first >= period_s - 1e-9


@given(st.floats(0.05, 50), st.lists(st.floats(0, 3), min_size=1, max_size=100))
def test_reserved_turns_are_in_order_never_early_and_never_too_many(per_s: float, steps: list[float]) -> None:
    rate, now, turns = Rate(per_s), 0.0, []
    for step in steps:
        now += step
        turn = rate.reserve(now)
        assert turn >= now
        turns.append(turn)
    assert turns == sorted(turns)
    n = max(1, int(per_s))
    for first, later in zip(turns, turns[n:], strict=False):
        assert later - first >= n / per_s - 1e-9


def test_one_a_second_spaces_calls_by_a_second() -> None:
    rate = Rate(1.0)
    assert [rate.reserve(10.0) for _ in range(4)] == [10.0, 11.0, 12.0, 13.0]
    assert rate.reserve(20.0) == 20.0


@pytest.mark.parametrize(("per_s", "n_at_once"), [(0.5, 1), (1, 1), (2.5, 2), (20, 20)])
def test_as_many_pass_at_once_as_pass_in_a_second(per_s: float, n_at_once: int) -> None:
    rate = Rate(per_s)
    assert sum(rate.take(5.0) for _ in range(100)) == n_at_once
    assert rate.due_at(5.0) == pytest.approx(5.0 + n_at_once / per_s)
    assert math.isclose(rate.due_at(100.0), 100.0)
