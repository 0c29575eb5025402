"""The price table: what each row says of itself, what is found, and what has no price."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from active_call.base.errors import ConfigError
from active_call.providers.entry_points import KINDS as ADAPTER_KINDS
from active_call.providers.entry_points import found_adapters
from active_call.providers.usage.billing import VENDOR_HOSTS, billed_by
from active_call.providers.usage.prices import HERE, UNITS, PriceTable, price_in, shipped_prices
from active_call.providers.usage.units import KINDS, UNPRICED, Billed, Unit

ROW: dict[str, Any] = {
    "kind": "llm",
    "provider": "acme",
    "model": "m",
    "unit": "million input tokens",
    "price": 1.0,
    "date": date(2026, 11, 1),
    "source": "contract",
}


def table(*rows: dict[str, Any]) -> PriceTable:
    return PriceTable(price_in({**ROW, **row}, "row") for row in rows)


@pytest.mark.parametrize("row", shipped_prices().rows, ids=lambda row: f"{row.kind} {row.provider} {row.model} {row.unit}")
def test_each_shipped_row_has_date_source_and_unit(row: Any) -> None:
    assert date(2024, 1, 1) < row.read_on <= date(2027, 1, 1)
    assert row.source.startswith("https://") or (row.source == HERE and row.price == 0)
    assert row.unit in UNITS and row.kind in KINDS and UNITS[row.unit][0] not in UNPRICED
    assert row.price > 0 or row.source == HERE


def test_no_shipped_row_stands_twice_and_each_names_an_adapter_or_a_vendor() -> None:
    rows = shipped_prices().rows
    assert len({(row.kind, row.provider, row.model, UNITS[row.unit][0]) for row in rows}) == len(rows) > 60
    known = {name for kind in ADAPTER_KINDS for name in found_adapters(kind)} | set(VENDOR_HOSTS.values())
    assert {row.provider for row in rows} <= known


@pytest.mark.parametrize(
    ("billed", "amounts", "dollars"),
    [
        (Billed("asr", "deepgram", "nova-3"), {Unit.SECONDS: 60.0}, 0.0077),
        (Billed("tts", "elevenlabs", "eleven_flash_v2_5"), {Unit.CHARACTERS: 1000.0, Unit.SECONDS: 60.0}, 0.05),
        (Billed("tts", "openai", "gpt-4o-mini-tts"), {Unit.CHARACTERS: 1000.0, Unit.SECONDS: 60.0}, 0.015),
        (Billed("llm", "openai", "gpt-4o-mini-2024-07-18"), {Unit.INPUT_TOKENS: 1e6, Unit.OUTPUT_TOKENS: 1e6}, 0.75),
        (Billed("llm", "openai", "openai/gpt-4o-mini"), {Unit.CACHED_INPUT_TOKENS: 1e6, Unit.REASONING_TOKENS: 5.0}, 0.075),
        (Billed("llm", "anthropic", "claude-haiku-4-5"), {Unit.CACHED_INPUT_TOKENS: 1e6}, 1.0),
        (Billed("realtime", "openai", "gpt-realtime-1.5"), {Unit.AUDIO_INPUT_TOKENS: 1e6, Unit.AUDIO_OUTPUT_TOKENS: 1e6}, 96.0),
        (Billed("asr", "moonshine", "tiny-en"), {Unit.SECONDS: 3600.0}, 0.0),
        (Billed("tts", "nobody"), {Unit.CACHED_CHARACTERS: 40.0}, 0.0),
        (Billed("tts", "tencent", "101001"), {Unit.CHARACTERS: 10_000.0, Unit.SECONDS: 600.0}, 0.185),
    ],
)
def test_cost_of_a_use(billed: Billed, amounts: dict[Unit, float], dollars: float) -> None:
    money = shipped_prices().cost_of(billed, amounts)
    assert money is not None and money.amount == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("billed", "amounts"),
    [
        (Billed("llm", "openai", "gpt-4o-mini-custom"), {Unit.INPUT_TOKENS: 1.0}),  # no prefix of another name's
        (Billed("llm", "my.server.example", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1.0}),
        (Billed("llm", "openai", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1.0, Unit.AUDIO_INPUT_TOKENS: 1.0}),
        (Billed("telephony", "acme", "outbound"), {Unit.SECONDS: 1.0}),
        (Billed("tts", "tencent", "501001"), {Unit.CHARACTERS: 1.0}),  # another class of voices
    ],
)
def test_what_no_row_names_has_no_price(billed: Billed, amounts: dict[Unit, float]) -> None:
    assert shipped_prices().cost_of(billed, amounts) is None


def test_rows_of_the_configuration_go_before_the_shipped_ones_in_their_currency() -> None:
    own = price_in({**ROW, "kind": "asr", "provider": "deepgram", "model": "nova-3", "unit": "minute", "price": 1.0}, "row")
    prices = shipped_prices().over([own], "EUR", 0.5)
    assert prices.currency == "EUR"
    costs = [prices.cost_of(Billed("asr", "deepgram", model), {Unit.SECONDS: 60.0}) for model in ("nova-3", "flux-general-en")]
    assert [round(money.amount, 6) for money in costs if money is not None] == [1.0, 0.00325]


def test_begun_increments_are_billed_whole() -> None:
    prices = table({"kind": "telephony", "unit": "minute", "price": 0.6, "increment": 60})
    costs = [prices.cost_of(Billed("telephony", "acme", "m"), {Unit.SECONDS: seconds}) for seconds in (1.0, 60.0, 61.0)]
    assert [money.amount for money in costs if money is not None] == pytest.approx([0.6, 0.6, 1.2])


@pytest.mark.parametrize(
    ("change", "key", "word"),
    [
        ({"kind": "stt"}, "row.kind", "asr"),
        ({"unit": "litre"}, "row.unit", "minute"),
        ({"date": "yesterday"}, "row.date", "2026-11-29"),
        ({"source": ""}, "row.source", "text"),
        ({"price": -1}, "row.price", "number"),
        ({"price": True}, "row.price", "number"),
        ({"cost": 1}, "row.cost", "unknown"),
        ({"provider": None}, "row.provider", "text"),
    ],
)
def test_row_that_is_wrong_names_its_key(change: dict[str, Any], key: str, word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        table(change)
    assert raised.value.key == key and word in str(raised.value)


class Server:
    def __init__(self, name: str, endpoint: str, model: str = "") -> None:
        self.name, self.endpoint, self.model = name, endpoint, model


@pytest.mark.parametrize(
    ("engine", "billed"),
    [
        (Server("openai", "https://api.openai.com/v1"), Billed("llm", "openai", "default")),
        (Server("openai", "https://api.groq.com/openai/v1", "llama"), Billed("llm", "groq", "llama")),
        (Server("openai", "http://127.0.0.1:8000/v1"), Billed("llm", "127.0.0.1", "default")),
        (Server("openai", "https://notopenai.com/v1"), Billed("llm", "notopenai.com", "default")),
        (Server("deepgram", "wss://proxy.example/v1"), Billed("llm", "deepgram", "default")),
    ],
)
def test_a_server_of_ones_own_is_not_billed_as_openai(engine: Server, billed: Billed) -> None:
    assert billed_by("llm", engine, "default") == billed
