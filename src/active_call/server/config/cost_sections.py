"""The tables `[budget]` and `[prices]`: cost limits of calls, and prices of engines and trunks."""

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
    """Limits on the cost and usage of calls. A playbook's `budget`, and a call's own, override it, except for the daily limit."""

    per_call: Money | None = None
    """The cost limit of one call, in the currency of `[prices]`. Usage without a price does not count."""
    seconds: Amount | None = None
    """The sound that one call may send to recognisers."""
    characters: Amount | None = None
    """The text that one call may send to synthesisers."""
    tokens: Amount | None = None
    """The tokens that one call may use with all models, input and output."""
    say: Annotated[str, Field(max_length=4_000)] | None = None
    """The final sentence of a call whose budget is spent; empty: it ends without a word."""
    per_day: Money | None = None
    """The cost limit of all calls of a day (UTC). When it is spent, calls end with `say`, and new ones are refused with 503."""
    file: NonEmpty = "config/spending.json"
    """The file with the day's sum, so that a restart keeps it."""

    def as_option(self) -> BudgetOption | None:
        """The option for calls without their own; None if there is no limit."""
        option = BudgetOption(per_call=self.per_call, seconds=self.seconds, characters=self.characters, tokens=self.tokens, say=self.say)
        return None if option == BudgetOption() else option


class PriceRow(Section):
    """A price that overrides the shipped ones."""

    kind: Literal["asr", "tts", "llm", "realtime", "telephony"]
    """The kind of usage."""
    provider: NonEmpty
    """The provider's name; the host of a private server; for `telephony` the trunk's name."""
    model: NonEmpty = ANY
    """The model; `*` for all. For `telephony` `inbound` or `outbound`."""
    unit: str
    """`second`, `minute`, `hour`, `thousand characters`, `million input tokens`, …"""
    price: Annotated[Number, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
    """For one unit, in `currency`."""
    increment: Annotated[Number, Field(ge=0, le=3600)] = 0.0
    """The billing increment in seconds: 60 if each started minute is billed."""
    estimate: Flag = False
    """The vendor bills another unit, and this is the equivalent."""
    date: datetime.date | None = None
    """The date on which it was read."""
    source: NonEmpty = "configuration"
    """The page on which it was read."""

    @model_validator(mode="after")
    def _known_unit(self) -> PriceRow:
        if self.unit not in UNITS:
            raise ValueError(f"expected `unit` out of {', '.join(UNITS)}, found {self.unit!r}")
        return self

    def as_price(self) -> Price:
        """As a row of the price table."""
        return Price(
            self.kind, self.provider.lower(), self.model, self.unit, self.price, self.date, self.source, self.estimate, self.increment
        )


class Prices(Section):
    """The currency, and the operator's own prices."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """For records, budgets and `rows` (ISO 4217)."""
    per_dollar: Annotated[Number, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """The value of one US dollar in `currency`, for the shipped prices."""
    rows: tuple[PriceRow, ...] = ()
    """Prices that override the shipped ones."""

    @model_validator(mode="after")
    def _rate(self) -> Prices:
        if self.currency != "USD" and self.per_dollar is None:
            raise ValueError(f"expected `per_dollar` beside currency {self.currency}: what one US dollar is, such as 0.92")
        return self

    def table(self) -> PriceTable:
        """All prices."""
        if not self.rows and self.currency == "USD":
            return shipped_prices()
        rate = self.per_dollar if self.per_dollar is not None and self.currency != "USD" else 1.0
        return shipped_prices().over((row.as_price() for row in self.rows), self.currency, rate)
