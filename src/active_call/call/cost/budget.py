"""How far a budget is used up. Pure: the budget and the amounts so far enter, the share of what is nearest its end leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from active_call.contract.options import BudgetOption

WARN_AT: Final = 0.8
"""Of a budget: from here on the log warns."""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one limit is used: `share` is 1 where all of it is."""

    name: str
    used: float
    limit: float
    unit: str

    @property
    def share(self) -> float:
        """The part of the limit that is used."""
        return self.used / self.limit

    def __str__(self) -> str:
        return f"{self.name}: {self.used:.4g} of {self.limit:.4g} {self.unit}"


def nearest_limit(budget: BudgetOption, cost: float, amounts: Mapping[str, float], currency: str) -> Share | None:
    """The limit of `budget` that is used up most; None if it has none. `amounts` by `seconds`, `characters`, `tokens`."""
    shares = [] if budget.per_call is None else [Share("perCall", cost, budget.per_call, currency)]
    for name in ("seconds", "characters", "tokens"):
        limit = getattr(budget, name)
        if limit is not None:
            shares.append(Share(name, amounts.get(name, 0.0), limit, name))
    return max(shares, key=lambda share: share.share, default=None)
