"""Calls are counted by what they cost in engines of this machine."""

from __future__ import annotations

import pytest

from active_call.providers.local.call_cost import MAX_SHARE, MIN_CALLS, WINDOW_S, CallCost


def talk(cost: CallCost, n_calls: int, cores_of_one: float, windows: int, start: float = 0.0) -> float:
    """Let `n_calls` cost so much each for some windows, asked four times a second as the server does; gives the time."""
    now = start
    for _ in range(int(windows * WINDOW_S * 4)):
        cost.has_room(now, n_calls)
        cost.spend(n_calls * cores_of_one / 4)
        now += 0.25
    cost.has_room(now, n_calls)
    return now


def most(cost: CallCost, now: float) -> int:
    """How many calls come in before one is refused."""
    n_calls = 0
    while n_calls < 1000 and cost.has_room(now, n_calls):
        n_calls += 1
    return n_calls


def test_cost_that_is_unknown_refuses_nobody() -> None:
    assert most(CallCost(1), 0.0) == 1000


@pytest.mark.parametrize(("n_cores", "cores_of_one"), [(1, 0.05), (2, 0.05), (2, 0.2), (8, 0.1)])
def test_room_is_for_as_many_calls_as_the_cores_can_serve(n_cores: int, cores_of_one: float) -> None:
    cost = CallCost(n_cores)
    now = talk(cost, 5, cores_of_one, 20)
    assert cost.of_one == pytest.approx(cores_of_one, rel=0.02)
    assert most(cost, now) == pytest.approx(max(MIN_CALLS, MAX_SHARE * n_cores / cores_of_one), abs=1)


def test_wave_of_calls_is_stopped_before_they_have_said_a_word() -> None:
    cost = CallCost(2)
    now = talk(cost, 6, 0.1, 20)
    admitted = 6
    while cost.has_room(now + admitted * 0.001, admitted):
        admitted += 1
    assert admitted == 17


def test_silence_between_turns_makes_calls_only_slowly_cheaper() -> None:
    cost = CallCost(2)
    now = talk(cost, 10, 0.1, 20)
    now = talk(cost, 10, 0.0, 1, now)
    assert cost.of_one == pytest.approx(0.09, rel=0.02)
    talk(cost, 10, 0.0, 40, now)
    assert cost.of_one < 0.01


def test_few_calls_teach_nothing_and_are_never_refused() -> None:
    cost = CallCost(1)
    now = talk(cost, MIN_CALLS - 1, 0.9, 10)
    assert cost.of_one == 0.0
    talk(cost, 10, 5.0, 10, now)
    assert all(cost.has_room(now + 1e6, n_calls) for n_calls in range(MIN_CALLS))


def test_what_was_learnt_is_kept_while_nobody_calls() -> None:
    cost = CallCost(2)
    now = talk(cost, 10, 0.1, 20)
    talk(cost, 0, 0.0, 100, now)
    assert cost.of_one >= 0.089  # the window in which they hung up was a cheap one
