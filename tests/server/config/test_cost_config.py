"""`[budget]` and `[prices]`: what they come to, and mistakes named by their field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import ConfigError, PlaybookError
from active_call.contract.options import BudgetOption
from active_call.providers.usage.units import Billed, Unit
from active_call.server.config.config import Config, default_option
from active_call.server.config.loading import load_config

TEXT = """
[budget]
per_call = 0.5
tokens = 20000
say = "Our time is up."
per_day = 20

[prices]
currency = "EUR"
per_dollar = 0.9

[[prices.rows]]
kind = "telephony"
provider = "acme"
model = "outbound"
unit = "minute"
price = 0.02
increment = 60
source = "contract of 2026"
"""


def config_of(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "active-call.toml"
    file.write_text(text)
    return load_config(file, {}, {})


def test_tables_come_to_an_option_and_a_price_table(tmp_path: Path) -> None:
    config = config_of(tmp_path, TEXT)
    assert default_option(config).budget == BudgetOption(per_call=0.5, tokens=20_000, say="Our time is up.")
    table = config.prices.table()
    leg = table.cost_of(Billed("telephony", "acme", "outbound"), {Unit.SECONDS: 61.0})
    voice = table.cost_of(Billed("tts", "elevenlabs", "eleven_flash_v2_5"), {Unit.CHARACTERS: 1000.0})
    assert table.currency == "EUR" and leg is not None and voice is not None
    assert (leg.amount, round(voice.amount, 6)) == (0.04, 0.045)
    assert default_option(config_of(tmp_path, "")).budget is None


@pytest.mark.parametrize(
    ("before", "after", "key", "word"),
    [
        ("per_call = 0.5", "per_call = 0", "budget.per_call", "more than 0"),
        ("per_day = 20", "per_day = nan", "budget.per_day", "found nan"),
        ("tokens = 20000", "tokens = 1.5", "budget.tokens", "whole number"),
        ("per_dollar = 0.9", "", "prices", "per_dollar"),
        ('currency = "EUR"', 'currency = "Euro"', "prices.currency", ""),
        ('unit = "minute"', 'unit = "litre"', "prices.rows", "minute"),
        ("price = 0.02", "", "prices.rows[0].price", "missing"),
        ("per_day", "perday", "budget.perday", "unknown"),
    ],
)
def test_mistake_names_its_field(tmp_path: Path, before: str, after: str, key: str, word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, TEXT.replace(before, after))
    assert key in str(raised.value) and word in str(raised.value)


def book(budget: str) -> Any:
    return parse_playbook(f"---\nllm: {{model: m}}\nbudget: {budget}\n---\nTalk.\n", file="test.md", environment={})


def test_playbook_has_a_budget_of_its_own() -> None:
    assert book('{perCall: 0.50, seconds: 5m, say: "Bye."}').option.budget == BudgetOption(per_call=0.5, seconds=300, say="Bye.")


@pytest.mark.parametrize(("budget", "word"), [("{perCall: -1}", "budget.perCall"), ("{tokens: many}", "budget.tokens")])
def test_mistake_in_a_playbook_names_its_field(budget: str, word: str) -> None:
    with pytest.raises(PlaybookError) as raised:
        book(budget)
    assert word in str(raised.value)
