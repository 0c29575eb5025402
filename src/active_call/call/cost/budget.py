"""How much of a budget is used. Pure: the budget and the amounts so far enter, the most used limit leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from active_call.contract.options import BudgetOption

WARN_AT: Final = 0.8
"""The fraction of a budget from which the log warns."""


class Share(Struct, frozen=True):
    """The used fraction of one limit; `share` is 1 when all of it is used."""

    name: str
    used: float
    limit: float
    unit: str

    @property
    def share(self) -> float:
        """The used fraction of the limit."""
        return self.used / self.limit

    def __str__(self) -> str:
        return f"{self.name}: {self.used:.4g} of {self.limit:.4g} {self.unit}"


def nearest_limit(budget: BudgetOption, cost: float, amounts: Mapping[str, float], currency: str) -> Share | None:
    """The most used limit of `budget`; None if it has none. `amounts` by `seconds`, `characters`, `tokens`."""
    shares = [] if budget.per_call is None else [Share("perCall", cost, budget.per_call, currency)]
    for name in ("seconds", "characters", "tokens"):
        limit = getattr(budget, name)
        if limit is not None:
            shares.append(Share(name, amounts.get(name, 0.0), limit, name))
    return max(shares, key=lambda share: share.share, default=None)
