"""Budgets of calls and of days: which limit is nearest, when it is told, and what a new day and a restart change."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from active_call.call.cost.budget import nearest_limit
from active_call.call.cost.spending import DayBudget, Spending
from active_call.contract.options import BudgetOption
from active_call.providers.usage.prices import shipped_prices
from active_call.providers.usage.units import Billed, Unit, Used

EMBEDDED = Used(Billed("asr", "moonshine"), {Unit.SECONDS: 3600.0})
CLOUD = Used(Billed("llm", "openai", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1_000_000})
UNKNOWN = Used(Billed("llm", "new.vendor.example"), {Unit.INPUT_TOKENS: 1_000_000})


class Noon:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def now(self) -> float:
        return self.at.timestamp()

    def utc_now(self) -> datetime:
        return self.at


@pytest.mark.parametrize(
    ("budget", "name", "share"),
    [
        (BudgetOption(per_call=0.5), "perCall", 0.5),
        (BudgetOption(per_call=0.5, seconds=40), "seconds", 0.75),
        (BudgetOption(tokens=50, characters=10, seconds=3000), "tokens", 2.0),
        (BudgetOption(characters=10), "characters", 0.0),
    ],
)
def test_limit_that_is_used_most_counts(budget: BudgetOption, name: str, share: float) -> None:
    nearest = nearest_limit(budget, 0.25, {"seconds": 30.0, "tokens": 100.0}, "USD")
    assert nearest is not None and (nearest.name, nearest.share) == (name, share)


def test_budget_without_a_limit_is_never_spent() -> None:
    assert nearest_limit(BudgetOption(say="Goodbye."), 1e9, {"tokens": 1e9}, "USD") is None


def test_day_is_told_at_most_of_it_and_at_its_end_and_a_new_day_begins_anew(caplog: Any) -> None:
    clock, told, cleared = Noon(), [], []  # type: ignore[var-annotated]
    day = DayBudget(1.0, clock)
    day.on_spent, day.on_all_clear = told.append, lambda: cleared.append(day.day)
    with caplog.at_level(logging.WARNING):
        for cost in (0.5, 0.29, 0.05, 0.05, 0.05, 0.5, 0.5):
            day.add(cost)
    assert [record.message for record in caplog.records] == [
        "the day's budget is nearly spent",
        "the day's budget is spent; the server accepts no new calls",
    ]
    assert day.is_spent and len(told) == 1 and day.as_json("USD")["state"] == "spent"
    clock.at += timedelta(hours=12)
    assert not day.is_spent and day.spent == 0 and cleared[-1] == "2026-03-05"


def test_restart_goes_on_with_the_sum_of_today_only() -> None:
    day = DayBudget(1.0, Noon())
    day.restore("2026-03-03", 5.0)
    assert not day.is_spent
    day.restore("2026-03-04", 0.85)
    assert day.as_json("USD") == {"state": "near", "day": "2026-03-04", "perDay": 1.0, "spent": 0.85, "currency": "USD"}


def test_other_budget_counts_from_now_on_and_keeps_what_was_spent() -> None:
    spending = Spending(day=DayBudget(0.1, Noon()))
    spending.note(CLOUD)
    assert spending.is_spent
    spending.reconfigure(shipped_prices(), 1.0)
    assert not spending.is_spent and spending.day.spent == 0.15
    spending.reconfigure(shipped_prices(), None)
    assert not spending.is_spent and spending.as_json() == {}
    spending.reconfigure(shipped_prices().over((), "EUR", 0.5), 1.0)
    assert spending.day.spent == 0.0 and spending.totals.rows == ()


def test_what_runs_here_spends_nothing_and_is_listed() -> None:
    spending = Spending(day=DayBudget(1.0, Noon()))
    for used in (EMBEDDED, CLOUD):
        spending.note(used)
    assert spending.day.spent == pytest.approx(0.15)
    assert [row.cost for row in spending.totals.rows] == [0.0, pytest.approx(0.15)]


def test_what_has_no_price_counts_at_the_dearest_known_one_and_is_told_once(caplog: Any) -> None:
    """A budget is not endless for want of a price; the cost of the call stays without it."""
    spending = Spending(day=DayBudget(1000.0, Noon()))
    dearest = max(row.price for row in shipped_prices().rows if (row.kind, row.unit) == ("llm", "million input tokens"))
    with caplog.at_level(logging.WARNING):
        for used in (UNKNOWN, UNKNOWN):
            spending.note(used)
    assert spending.day.spent == pytest.approx(2 * dearest) and spending.totals.cost == 0.0
    assert [row.cost for row in spending.totals.rows] == [None]
    (told,) = caplog.records
    assert told.message == "a budget counts usage whose price is not known" and told.engine == "llm new.vendor.example"


@pytest.mark.parametrize(
    ("billed", "amounts"),
    [
        (Billed("llm", "10.0.0.5"), {Unit.INPUT_TOKENS: 1e6}),
        (Billed("llm", "localhost"), {Unit.INPUT_TOKENS: 1e6}),
        (Billed("tts", "gpu.internal"), {Unit.CHARACTERS: 1e6, Unit.SECONDS: 60.0}),
        (Billed("telephony", "carrier", "outbound"), {Unit.SECONDS: 3600.0}),
        (Billed("tts", "nobody"), {Unit.CACHED_CHARACTERS: 40.0}),
    ],
)
def test_server_of_ones_own_a_carrier_and_the_cache_are_not_guessed(billed: Billed, amounts: dict[Unit, float]) -> None:
    assert shipped_prices().assumed_cost_of(billed, amounts) == 0.0


def test_unknown_voice_counts_its_characters_and_not_its_seconds_beside_them() -> None:
    billed, table = Billed("tts", "new-vendor", "m"), shipped_prices()
    both = table.assumed_cost_of(billed, {Unit.CHARACTERS: 1000.0, Unit.SECONDS: 60.0})
    assert both == table.assumed_cost_of(billed, {Unit.CHARACTERS: 1000.0}) > 0.05
    assert table.assumed_cost_of(billed, {Unit.SECONDS: 60.0}) > 0
