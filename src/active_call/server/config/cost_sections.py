"""The tables `[budget]` and `[prices]`: what calls may cost, and what engines and trunks cost."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from active_call.contract.options import BudgetOption
from active_call.providers.usage.prices import ANY, UNITS, Price, PriceTable, shipped_prices
from active_call.server.config.values import Flag, NonEmpty, Number, Section, Whole

Money = Annotated[Number, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Amount = Annotated[Whole, Field(ge=1, le=1_000_000_000)]


class Budget(Section):
    """What calls may cost or use. A playbook's `budget`, and that of a call, go before it, but for the day's."""

    per_call: Money | None = None
    """What one call may cost, in the currency of `[prices]`. What has no price does not count."""
    seconds: Amount | None = None
    """Of sound that one call may send to recognisers."""
    characters: Amount | None = None
    """Of text that one call may give to synthesisers."""
    tokens: Amount | None = None
    """That one call may use of all models, in and out."""
    say: Annotated[str, Field(max_length=4_000)] | None = None
    """The last sentence of a call whose budget is spent; empty: it is ended without a word."""
    per_day: Money | None = None
    """What all calls of a day (UTC) may cost. When it is spent, calls end with `say`, and new ones are refused with 503."""
    file: NonEmpty = "config/spending.json"
    """Where the sum of the day is kept, so that a restart does not forget it."""

    def as_option(self) -> BudgetOption | None:
        """For calls that say nothing themselves; None if nothing is limited."""
        option = BudgetOption(per_call=self.per_call, seconds=self.seconds, characters=self.characters, tokens=self.tokens, say=self.say)
        return None if option == BudgetOption() else option


class PriceRow(Section):
    """A price that goes before those that come with the program."""

    kind: Literal["asr", "tts", "llm", "realtime", "telephony"]
    """What it is the price of."""
    provider: NonEmpty
    """The provider's name; the host of a server of one's own; of `telephony` the trunk's name."""
    model: NonEmpty = ANY
    """The model; `*` for all. Of `telephony` `inbound` or `outbound`."""
    unit: str
    """`second`, `minute`, `hour`, `thousand characters`, `million input tokens`, …"""
    price: Annotated[Number, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
    """Of one unit, in `currency`."""
    increment: Annotated[Number, Field(ge=0, le=3600)] = 0.0
    """Begun seconds that are billed whole: 60 where each begun minute is."""
    estimate: Flag = False
    """The vendor bills another unit, and this is what it comes to."""
    date: datetime.date | None = None
    """The day on which it was read."""
    source: NonEmpty = "configuration"
    """Where it was read."""

    @model_validator(mode="after")
    def _known_unit(self) -> PriceRow:
        if self.unit not in UNITS:
            raise ValueError(f"expected `unit` out of {', '.join(UNITS)}, found {self.unit!r}")
        return self

    def as_price(self) -> Price:
        """The row of the table."""
        return Price(
            self.kind, self.provider.lower(), self.model, self.unit, self.price, self.date, self.source, self.estimate, self.increment
        )


class Prices(Section):
    """The currency, and prices of one's own."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Of records, budgets and `rows` (ISO 4217)."""
    per_dollar: Annotated[Number, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """What one US dollar is in `currency`, for the prices that come with the program."""
    rows: tuple[PriceRow, ...] = ()
    """Prices that go before those."""

    @model_validator(mode="after")
    def _rate(self) -> Prices:
        if self.currency != "USD" and self.per_dollar is None:
            raise ValueError(f"expected `per_dollar` beside currency {self.currency}: what one US dollar is, such as 0.92")
        return self

    def table(self) -> PriceTable:
        """All prices."""
        rate = self.per_dollar if self.per_dollar is not None and self.currency != "USD" else 1.0
        return shipped_prices().over((row.as_price() for row in self.rows), self.currency, rate)
