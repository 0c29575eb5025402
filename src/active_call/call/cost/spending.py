"""What all calls of this server use and cost: the prices, the sums of the process for `/metrics`, the budget of the day.

Uses enter, from calls and from work outside of them (`POST /precache`). The day's sum outlives the process: its owner reads it back at
start and writes it down (`store.day_spending`). A day is one of UTC.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from active_call.base.world import Clock, SystemClock
from active_call.call.cost.budget import WARN_AT
from active_call.providers.usage.account import DECIMALS, Account
from active_call.providers.usage.billing import is_private_host
from active_call.providers.usage.prices import PriceTable, shipped_prices
from active_call.providers.usage.units import Billed, Used

log = logging.getLogger("active_call.cost")

PART: Final = "budget"
"""The name of the day's budget among the server's troubles."""


@dataclass(slots=True)
class DayBudget:
    """What calls cost on one day, all of them together, and what they may cost. In the currency of the prices."""

    per_day: float | None = None
    """None: as much as they like."""
    clock: Clock = field(default_factory=SystemClock)
    spent: float = 0.0
    day: str = ""
    on_change: Callable[[DayBudget], object] = lambda budget: None
    """Told of each change of the sum, and of a new day."""
    on_spent: Callable[[str], object] = lambda reason: None
    """Told once a day, when the budget is spent."""
    on_all_clear: Callable[[], object] = lambda: None
    """Told when a new day begins, or another budget."""
    _told: float = 0.0
    """The share that the log has told of this day."""

    def restore(self, day: str, spent: float) -> None:
        """Go on from what was written down, where that is of today."""
        if day == self._today():
            self.day, self.spent = day, max(spent, 0.0)
            self._tell()

    def add(self, cost: float) -> None:
        """Something was used."""
        self._turn_page()
        if cost > 0:
            self.spent += cost
            self._tell()
            self.on_change(self)

    def limit(self, per_day: float | None) -> None:
        """Another budget from now on. What was spent today stays."""
        if per_day != self.per_day:
            self.per_day, self._told = per_day, 0.0
            self._turn_page()
            self.on_all_clear()
            self._tell()

    @property
    def share(self) -> float:
        """The part of the budget that is spent; 0 without one."""
        self._turn_page()
        return self.spent / self.per_day if self.per_day else 0.0

    @property
    def is_spent(self) -> bool:
        """No more may be used today."""
        return self.share >= 1.0

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

    def _tell(self) -> None:
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
        """Since the process began."""
        self.day = day or DayBudget()
        self._told: set[Billed] = set()
        """What has no price, as far as the log has told it."""

    def reconfigure(self, prices: PriceTable, per_day: float | None) -> None:
        """Other prices and another budget from now on. Sums in another currency begin anew."""
        if prices.currency != self.prices.currency:
            self.totals = Account(prices)
            self.day.spent = 0.0
        self.totals.prices = self.prices = prices
        self._told.clear()
        self.day.limit(per_day)

    @property
    def is_spent(self) -> bool:
        """The day's budget allows nothing more."""
        return self.day.is_spent

    def note(self, used: Used) -> None:
        """Something was used, by a call or beside the calls. What has no price counts for the day as for calls (`Account.counted`)."""
        before = self.totals.counted
        cost = self.totals.add(used)
        self.day.add(self.totals.counted - before)
        if cost is None and self.day.per_day:
            self.tell_unpriced((used.billed,))

    def tell_unpriced(self, unpriced: Iterable[Billed]) -> None:
        """A budget of money counts these without a price of theirs: the log says so, once for each."""
        for billed in set(unpriced) - self._told:
            self._told.add(billed)
            assumed = "nothing" if billed.kind == "telephony" or is_private_host(billed.provider) else "the dearest known price of its kind"
            fields = {"engine": str(billed), "counted_as": assumed, "remedy": "add a row to [[prices.rows]]"}
            log.warning("a budget counts usage whose price is not known", extra=fields)

    def as_json(self) -> dict[str, Any]:
        """For `/health`; empty without a budget of the day."""
        return {"budget": self.day.as_json(self.prices.currency)} if self.day.per_day else {}
