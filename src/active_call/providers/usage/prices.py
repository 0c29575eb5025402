"""The price of a unit of an engine: the price table, and the look-up in it.

The shipped table is `prices.toml`: a row for each vendor, model and unit, with the date and the page from which it was read. Rows of
the configuration come first and may name any provider. A unit without a row has no price; it never counts as free. Budgets count it at the
highest known price of its kind, so that a budget always ends. Pure.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ConfigError
from active_call.providers.usage.billing import is_private_host
from active_call.providers.usage.units import KINDS, UNPRICED, Amounts, Billed, Unit

UNITS: Final[Mapping[str, tuple[Unit, float]]] = {
    "second": (Unit.SECONDS, 1.0),
    "minute": (Unit.SECONDS, 60.0),
    "hour": (Unit.SECONDS, 3600.0),
    "character": (Unit.CHARACTERS, 1.0),
    "thousand characters": (Unit.CHARACTERS, 1e3),
    "million characters": (Unit.CHARACTERS, 1e6),
    "million input tokens": (Unit.INPUT_TOKENS, 1e6),
    "million cached input tokens": (Unit.CACHED_INPUT_TOKENS, 1e6),
    "million output tokens": (Unit.OUTPUT_TOKENS, 1e6),
    "million audio input tokens": (Unit.AUDIO_INPUT_TOKENS, 1e6),
    "million cached audio tokens": (Unit.CACHED_AUDIO_TOKENS, 1e6),
    "million audio output tokens": (Unit.AUDIO_OUTPUT_TOKENS, 1e6),
}
"""Names of units in a table, what they measure, and how much of it is one unit."""
ANY: Final = "*"
HERE: Final = "this machine"
"""The source given for engines that run here."""
OTHERWISE: Final[Mapping[Unit, Unit]] = {
    Unit.CACHED_INPUT_TOKENS: Unit.INPUT_TOKENS,
    Unit.CACHED_AUDIO_TOKENS: Unit.AUDIO_INPUT_TOKENS,
}
"""If a vendor has no price for cached tokens, they cost the same as others."""
ALIASES: Final[Mapping[str, str]] = {
    "dashscope": "aliyun",
    "sensevoice": "sherpa",
    "openai-responses": "openai",
    "openai-realtime": "openai",
    "supertonic": "sherpa",
}
"""Adapters that share another provider's prices."""
_DATED: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
"""The suffix of a model's name that marks a snapshot."""
_KEYS: Final = frozenset({"kind", "provider", "model", "unit", "price", "date", "source", "estimate", "increment"})


class Price(Struct, frozen=True):
    """A row. `price` is for one `unit`, in the table's currency; the `model` `*` matches all models of the provider."""

    kind: str
    provider: str
    model: str
    unit: str
    price: float
    read_on: date | None
    """None: a row of the configuration without a date."""
    source: str
    is_estimate: bool = False
    """The vendor bills in another unit and publishes this equivalent."""
    increment: float = 0.0
    """For `telephony`: billed in started increments of this many seconds; 0: to the second."""

    def cost_of(self, amount: float) -> float:
        """The cost of `amount` of the row's unit."""
        if self.increment > 0:
            amount = -(-amount // self.increment) * self.increment
        return amount / UNITS[self.unit][1] * self.price


class Money(Struct, frozen=True):
    """The cost of a use."""

    amount: float
    is_estimated: bool = False


class PriceTable:
    """Prices in one currency. If several rows match, the first is used."""

    def __init__(self, rows: Iterable[Price], currency: str = "USD") -> None:
        self.rows = tuple(rows)
        self.currency = currency
        self._by_name: dict[tuple[str, str, str], dict[Unit, Price]] = {}
        for row in self.rows:
            units = self._by_name.setdefault((row.kind, row.provider, row.model.lower()), {})
            units.setdefault(UNITS[row.unit][0], row)
        self._dearest: dict[tuple[str, Unit], float] = {}
        for row in self.rows:
            what = (row.kind, UNITS[row.unit][0])
            if row.kind != "telephony":
                self._dearest[what] = max(self._dearest.get(what, 0.0), row.price / UNITS[row.unit][1])

    def prices_of(self, billed: Billed) -> Mapping[Unit, Price]:
        """The prices of `billed`, by unit; empty if there are none."""
        model = billed.model.lower().rpartition("/")[2]
        for provider in dict.fromkeys((billed.provider, ALIASES.get(billed.provider, billed.provider))):
            for name in dict.fromkeys((model, _DATED.sub("", model), ANY)):
                found = self._by_name.get((billed.kind, provider, name))
                if found:
                    return found
        return {}

    def cost_of(self, billed: Billed, amounts: Amounts) -> Money | None:
        """The cost of `amounts`; None if part of them has no price."""
        due = {unit: amount for unit, amount in amounts.items() if amount > 0 and unit not in UNPRICED}
        if not due:
            return Money(0.0)
        prices = self.prices_of(billed)
        if billed.kind == "tts" and (Unit.CHARACTERS in prices or Unit.SECONDS in prices):  # only one of the two is billed
            due = {unit: amount for unit, amount in due.items() if unit in prices}
        total, is_estimated = 0.0, False
        for unit, amount in due.items():
            price = prices.get(unit) or prices.get(OTHERWISE.get(unit, unit))
            if price is None:
                return None
            total += price.cost_of(amount)
            is_estimated = is_estimated or price.is_estimate
        return Money(total, is_estimated)

    def assumed_cost_of(self, billed: Billed, amounts: Amounts) -> float:
        """The cost that budgets assume for `amounts` without a known price: the highest price of each unit among all models of its kind.

        0 if no such price is known, and for the user's own server in a private network, which has no bill.
        """
        if is_private_host(billed.provider):
            return 0.0
        due = {unit: amount for unit, amount in amounts.items() if amount > 0 and unit not in UNPRICED}
        if billed.kind == "tts" and Unit.CHARACTERS in due:  # a vendor bills one of the two
            due.pop(Unit.SECONDS, None)
        return sum(self._dearest.get((billed.kind, unit), 0.0) * amount for unit, amount in due.items())

    def over(self, rows: Iterable[Price], currency: str | None = None, per_dollar: float = 1.0) -> PriceTable:
        """This table converted to `currency` at `per_dollar`, after `rows`, which are in that currency already."""
        converted = (replace(row, price=row.price * per_dollar) for row in self.rows)
        return PriceTable((*rows, *converted), currency or self.currency)


@lru_cache(maxsize=1)
def shipped_prices() -> PriceTable:
    """The shipped table, in US dollars."""
    text = resources.files("active_call.providers.usage").joinpath("prices.toml").read_text("utf-8")
    pages = tomllib.loads(text)["page"]
    return PriceTable(
        price_in({"source": page.get("source"), "date": page.get("date"), **row}, f"prices.toml, {page.get('source')}, row {number}")
        for page in pages
        for number, row in enumerate(page["rows"], 1)
    )


def price_in(row: Mapping[str, Any], where: str) -> Price:
    """A row as written in a file. Raises ConfigError, which names the wrong key of `where`."""
    unknown = sorted(set(row) - _KEYS)
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}", f"unknown; expected one of {', '.join(sorted(_KEYS))}")
    kind, unit, read_on = row.get("kind"), row.get("unit"), row.get("date")
    if kind not in KINDS:
        raise ConfigError(f"{where}.kind", f"expected one of {', '.join(KINDS)}, found {kind!r}")
    if unit not in UNITS:
        raise ConfigError(f"{where}.unit", f"expected one of {', '.join(UNITS)}, found {unit!r}")
    if not isinstance(read_on, date):
        raise ConfigError(f"{where}.date", f"expected the day on which the price was read, such as 2026-11-29, found {read_on!r}")
    return Price(
        kind=str(kind),
        provider=_text(row, "provider", where).lower(),
        model=_text(row, "model", where, ANY),
        unit=str(unit),
        price=_amount(row, "price", where),
        read_on=read_on,
        source=_text(row, "source", where),
        is_estimate=row.get("estimate") is True,
        increment=_amount(row, "increment", where, 0.0),
    )


def _text(row: Mapping[str, Any], name: str, where: str, otherwise: str | None = None) -> str:
    value = row.get(name, otherwise)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}.{name}", f"expected a text, found {value!r}")
    return value.strip()


def _amount(row: Mapping[str, Any], name: str, where: str, otherwise: float | None = None) -> float:
    value = row.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ConfigError(f"{where}.{name}", f"expected a number from 0 to a million, found {value!r}")
    return float(value)
