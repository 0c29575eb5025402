"""What a call costs that is there, and what one costs that begins."""

from __future__ import annotations

import pytest

from active_call.server.load.control_cost import END_WEIGHT, PER_CALL_SECOND, PER_NEW_CALL, ControlCost


def test_costs_are_those_known_at_first() -> None:
    cost = ControlCost()
    assert (cost.per_call_second, cost.per_new_call) == (PER_CALL_SECOND, PER_NEW_CALL)
    assert cost.of_changes(4, 2) == pytest.approx(PER_NEW_CALL * (4 + 2 * END_WEIGHT))


def test_costs_are_told_apart_when_calls_begin_unevenly() -> None:
    cost = ControlCost()
    for step in range(60):
        n_new = 40 if step % 3 == 0 else 0
        cost.take(200.0, n_new, 0, 200 * 0.001 + n_new * 0.012)
    assert cost.per_call_second == pytest.approx(0.001, rel=0.1)
    assert cost.per_new_call == pytest.approx(0.012, rel=0.1)


def test_even_work_is_explained_near_what_was_known() -> None:
    cost = ControlCost()
    for _ in range(100):
        cost.take(200.0, 20, 20, 200 * PER_CALL_SECOND + 20 * (1 + END_WEIGHT) * PER_NEW_CALL)
    assert cost.per_call_second == pytest.approx(PER_CALL_SECOND, rel=0.01)
    assert cost.per_new_call == pytest.approx(PER_NEW_CALL, rel=0.01)


def test_costs_are_never_below_zero() -> None:
    cost = ControlCost()
    for _ in range(50):
        cost.take(100.0, 50, 0, 0.0)
        cost.take(0.0, 0, 100, 1.0)
    assert cost.per_call_second >= 0
    assert cost.per_new_call > 0
