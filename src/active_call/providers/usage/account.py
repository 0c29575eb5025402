"""The account of one call, one day, or the process: usage enters, rows with amounts and costs leave. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from active_call.providers.usage.prices import PriceTable
from active_call.providers.usage.units import TOKENS, Amounts, Billed, Unit, Used

MAX_ROWS: Final = 500
"""Engines that are counted apart. Clients of the API choose models by name, and every row is a time series for whoever reads `/metrics`."""
OTHERS: Final = "others"
"""The provider of the row for all further engines of a kind."""
DECIMALS: Final = 6
"""Decimal places of money: a token costs some millionths."""


@dataclass(slots=True)
class Row:
    """The usage of one engine. `cost` is None if part of it has no price."""

    billed: Billed
    amounts: dict[Unit, float] = field(default_factory=dict)
    cost: float | None = 0.0
    is_estimated: bool = False

    def as_json(self) -> dict[str, Any]:
        """For the record. `cost` is present only if there are prices."""
        told: dict[str, Any] = {"kind": self.billed.kind, "provider": self.billed.provider}
        if self.billed.model:
            told["model"] = self.billed.model
        told["units"] = {unit.value: _rounded(amount) for unit, amount in self.amounts.items()}
        if self.cost is not None:
            told["cost"] = round(self.cost, DECIMALS)
        return {**told, "estimated": self.is_estimated}


class Account:
    """Sums up usage by engine. `add` returns the cost of that use, None if it has no price."""

    def __init__(self, prices: PriceTable) -> None:
        self.prices = prices
        self._rows: dict[Billed, Row] = {}
        self.counted = 0.0
        """The amount for budgets: the cost, plus `PriceTable.assumed_cost_of` for unpriced usage."""

    def add(self, used: Used) -> float | None:
        """Add a use, and return its cost."""
        money = self.prices.cost_of(used.billed, used.amounts)
        billed = used.billed if used.billed in self._rows or len(self._rows) < MAX_ROWS else Billed(used.billed.kind, OTHERS)
        row = self._rows.setdefault(billed, Row(billed))
        for unit, amount in used.amounts.items():
            row.amounts[unit] = row.amounts.get(unit, 0.0) + amount
        row.is_estimated = row.is_estimated or used.is_estimated or (money is not None and money.is_estimated)
        row.cost = None if money is None or row.cost is None else row.cost + money.amount
        self.counted += self.prices.assumed_cost_of(used.billed, used.amounts) if money is None else money.amount
        return None if money is None else money.amount

    @property
    def rows(self) -> tuple[Row, ...]:
        """In the order in which engines were first used."""
        return tuple(self._rows.values())

    @property
    def cost(self) -> float:
        """The cost of everything that has a price."""
        return sum(row.cost for row in self.rows if row.cost is not None)

    @property
    def unpriced(self) -> tuple[Billed, ...]:
        """Everything without a price."""
        return tuple(row.billed for row in self.rows if row.cost is None)

    def usage_json(self) -> list[dict[str, Any]]:
        """The rows, for records and events."""
        return [row.as_json() for row in self.rows]

    def cost_json(self) -> dict[str, Any] | None:
        """The sum, for records and events; None if nothing was used. `complete` is false if part of it has no price."""
        rows = self.rows
        if not rows:
            return None
        told: dict[str, Any] = {"currency": self.prices.currency}
        if any(row.cost is not None for row in rows):
            told["total"] = round(self.cost, DECIMALS)
        told |= {"complete": not self.unpriced, "estimated": any(row.is_estimated for row in rows)}
        if self.unpriced:
            told["unpriced"] = [str(billed) for billed in self.unpriced]
        return told


def limited_amounts(amounts: Amounts, kind: str) -> Mapping[str, float]:
    """The amounts of a use of `kind` that a limit counts: `seconds` of recognition, `characters` of synthesis, `tokens` of models."""
    counted = {
        "seconds": amounts.get(Unit.SECONDS, 0.0) if kind == "asr" else 0.0,
        "characters": amounts.get(Unit.CHARACTERS, 0.0) if kind == "tts" else 0.0,
        "tokens": sum_of(amounts, TOKENS),
    }
    return {name: amount for name, amount in counted.items() if amount}


def sum_of(amounts: Amounts, units: Iterable[Unit]) -> float:
    """The amounts of `units` together."""
    return sum(amounts.get(unit, 0.0) for unit in units)


def _rounded(amount: float) -> float | int:
    return int(amount) if amount == int(amount) else round(amount, 3)
