"""The usage and cost of all calls of this server: the prices, the process's sums for `/metrics`, the day's budget.

Usage enters, from calls and from other work (`POST /precache`). The day's sum survives the process: its owner restores it at start and
stores it (`store.day_spending`). Days are UTC.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from active_call.base.world import Clock, SystemClock
from active_call.call.cost.budget import WARN_AT
from active_call.providers.usage.account import DECIMALS, MAX_ROWS, Account
from active_call.providers.usage.billing import is_private_host
from active_call.providers.usage.prices import PriceTable, shipped_prices
from active_call.providers.usage.units import Billed, Used

log = logging.getLogger("active_call.cost")

PART: Final = "budget"
"""The name of the day's budget in the server's list of faults."""


@dataclass(slots=True)
class DayBudget:
    """The cost of all calls on one day, and its limit, in the currency of the prices."""

    per_day: float | None = None
    """None: no limit."""
    clock: Clock = field(default_factory=SystemClock)
    spent: float = 0.0
    day: str = ""
    on_change: Callable[[DayBudget], object] = lambda budget: None
    """Called after each change of the sum, and on a new day."""
    on_spent: Callable[[str], object] = lambda reason: None
    """Called once a day, when the budget is spent."""
    on_all_clear: Callable[[], object] = lambda: None
    """Called when a new day begins, or the budget changes."""
    _told: float = 0.0
    """The highest share logged on this day."""

    def restore(self, day: str, spent: float) -> None:
        """Restore the stored sum if it is today's."""
        if day == self._today():
            self.day, self.spent = day, max(spent, 0.0)
            self._report()

    def add(self, cost: float) -> None:
        """Add a use."""
        self._turn_page()
        if cost > 0:
            self.spent += cost
            self._report()
            self.on_change(self)

    def limit(self, per_day: float | None) -> None:
        """Set another budget. The day's spending so far stays."""
        if per_day != self.per_day:
            self.per_day, self._told = per_day, 0.0
            self._turn_page()
            self.on_all_clear()
            self._report()

    @property
    def share(self) -> float:
        """The spent share of the budget; 0 without one."""
        self._turn_page()
        return self.spent / self.per_day if self.per_day else 0.0

    @property
    def is_spent(self) -> bool:
        """The budget is spent for today. Cheap without a budget, because each beat of the server reads it."""
        return bool(self.per_day) and self.share >= 1.0

    def as_json(self, currency: str) -> dict[str, Any]:
        """For `/health`."""
        share = self.share
        state = "spent" if share >= 1.0 else "near" if share >= WARN_AT else "ok"
        return {"state": state, "day": self.day, "perDay": self.per_day, "spent": round(self.spent, DECIMALS), "currency": currency}

    def _today(self) -> str:
        return self.clock.utc_now().date().isoformat()

    def _turn_page(self) -> None:
        today = self._today()
        if today != self.day:
            self.day, self.spent, self._told = today, 0.0, 0.0
            self.on_all_clear()

    def _report(self) -> None:
        """Log each threshold once a day."""
        share = self.spent / self.per_day if self.per_day else 0.0
        reached = 1.0 if share >= 1.0 else WARN_AT if share >= WARN_AT else 0.0
        if reached <= self._told:
            return
        self._told = reached
        fields = {"spent": round(self.spent, 4), "per_day": self.per_day, "day": self.day}
        if reached < 1.0:
            log.warning("the day's budget is nearly spent", extra=fields)
        else:
            log.error("the day's budget is spent; the server accepts no new calls", extra=fields)
            self.on_spent(f"the day's budget is spent: {self.spent:.2f} of {self.per_day:.2f}; no new calls until midnight UTC")


class Spending:
    """See the module."""

    def __init__(self, prices: PriceTable | None = None, day: DayBudget | None = None) -> None:
        self.prices = prices or shipped_prices()
        self.totals = Account(self.prices)
        """Since the process started."""
        self.day = day or DayBudget()
        self._told: set[Billed] = set()
        """Unpriced usage that is already logged."""

    def reconfigure(self, prices: PriceTable, per_day: float | None) -> None:
        """Change prices and budget. Sums in another currency restart."""
        if prices.currency != self.prices.currency:
            self.totals = Account(prices)
            self.day.spent = 0.0
        self.totals.prices = self.prices = prices
        self._told.clear()
        self.day.limit(per_day)

    @property
    def is_spent(self) -> bool:
        """The day's budget is spent."""
        return self.day.is_spent

    def note(self, used: Used) -> None:
        """Count a use, by a call or other work. Unpriced usage counts for the day as it does for calls (`Account.counted`)."""
        before = self.totals.counted
        cost = self.totals.add(used)
        self.day.add(self.totals.counted - before)
        if cost is None and self.day.per_day:
            self.tell_unpriced((used.billed,))

    def tell_unpriced(self, unpriced: Iterable[Billed]) -> None:
        """Log once for each of `unpriced` that the budget counts it without a known price."""
        for billed in set(unpriced) - self._told:
            if len(self._told) >= MAX_ROWS:
                return
            self._told.add(billed)
            assumed = "nothing" if billed.kind == "telephony" or is_private_host(billed.provider) else "the dearest known price of its kind"
            fields = {"engine": str(billed), "counted_as": assumed, "remedy": "add a row to [[prices.rows]]"}
            log.warning("a budget counts usage whose price is not known", extra=fields)

    def as_json(self) -> dict[str, Any]:
        """For `/health`; empty without a budget."""
        return {"budget": self.day.as_json(self.prices.currency)} if self.day.per_day else {}
