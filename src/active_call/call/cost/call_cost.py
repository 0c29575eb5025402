"""The account of one call: the usage of its engines, the cost of its telephone leg, and whether its budget is spent.

Usage enters by `note`, the meter of all tasks of the call; sums go into the call's facts, for its description and its record. When the
budget of the call or of the day is spent, `on_spent` is called once, through the mailbox. Usage reported after the end of the call counts
only for the day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from active_call.call.call_time import CallTime
from active_call.call.cost.budget import WARN_AT, nearest_limit
from active_call.call.cost.spending import Spending
from active_call.call.cost.telephone import leg_use
from active_call.call.ports import CallPorts
from active_call.call.shared_state import CallState
from active_call.call.state import Phase
from active_call.contract import events
from active_call.providers.usage.account import Account, limited_amounts
from active_call.providers.usage.units import Used

METRICS_KEY: Final = "usage"
"""The name of the event at the end of a call."""


class CallCost:
    """See the module. `on_near` is called once, when most of one of the call's limits is used."""

    def __init__(self, state: CallState, ports: CallPorts, time: CallTime, spending: Spending) -> None:
        self._state = state
        self._ports = ports
        self._time = time
        self._spending = spending
        self._account = Account(spending.prices)
        self._amounts: dict[str, float] = {}
        """The limited amounts: seconds of recognition, characters, tokens."""
        self._is_near = self._is_spent = self._is_closed = False
        self.is_aside: Callable[[], bool] = lambda: False
        """The caller is connected to another party, or on hold: the call is not ended now, and a spent budget is checked again at the next
        use.
        """
        self.on_near: Callable[[], object] = lambda: None
        self.on_spent: Callable[[str], object] = lambda why: None

    def note(self, used: Used) -> None:
        """Count a use of this call."""
        self._spending.note(used)
        if self._is_closed:
            return
        self._account.add(used)
        for name, amount in limited_amounts(used.amounts, used.billed.kind).items():
            self._amounts[name] = self._amounts.get(name, 0.0) + amount
        self._update_facts()
        self._judge()

    def close(self) -> events.Metrics | None:
        """The call has ended: add its telephone leg and stop counting. Returns the event with all usage, None if nothing was used."""
        if self._is_closed:
            return None
        leg = self._leg_use()
        if leg is not None:
            self._spending.note(leg)
            self._account.add(leg)
        self._is_closed = True
        self._update_facts()
        facts = self._state.facts
        if facts.cost is None:
            return None
        duration_ms = round(self._answered_s() * 1000)
        return events.Metrics(key=METRICS_KEY, duration=duration_ms, data={"usage": facts.usage, "cost": facts.cost})

    def _update_facts(self) -> None:
        facts = self._state.facts
        facts.usage, facts.cost = self._account.usage_json(), self._account.cost_json()

    def _answered_s(self) -> float:
        facts = self._state.facts
        if facts.answered_at is None:
            return 0.0
        return max(0.0, ((facts.ended_at or self._time.utc_now()) - facts.answered_at).total_seconds())

    def _leg_use(self) -> Used | None:
        """The call's own leg so far."""
        facts = self._state.facts
        return leg_use(self._state.leg, facts.trunk, facts.direction, facts.answered_at, facts.ended_at or self._time.utc_now())

    def _cost(self) -> float:
        """The cost so far as budgets count it, including the telephone leg if its price is known."""
        leg = self._leg_use()
        money = self._account.prices.cost_of(leg.billed, leg.amounts) if leg is not None else None
        return self._account.counted + (money.amount if money is not None else 0.0)

    def _judge(self) -> None:
        if self._is_spent or self._state.facts.phase is Phase.ENDED or self.is_aside():
            return
        if self._spending.is_spent:
            self._spend("the day's budget is spent")
            return
        budget = self._state.option.budget
        if budget is not None and budget.per_call is not None:
            self._spending.tell_unpriced(self._account.unpriced)
        nearest = nearest_limit(budget, self._cost(), self._amounts, self._account.prices.currency) if budget is not None else None
        if nearest is not None and nearest.share >= 1.0:
            self._spend(f"the budget of the call is spent ({nearest})")
        elif nearest is not None and nearest.share >= WARN_AT and not self._is_near:
            self._is_near = True
            self._ports.log.warning("the budget of the call is nearly spent", extra={"limit": str(nearest)})
            self._ports.later(lambda: self.on_near())

    def _spend(self, why: str) -> None:
        self._is_spent = True
        self._ports.log.warning("budget spent", extra={"why": why})
        self._ports.later(lambda: self.on_spent(why))
