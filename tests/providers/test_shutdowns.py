"""Ends of models: each row names a provider that exists and its page; a model is found under all names of its adapter."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from active_call.base.world import World
from active_call.contract.options import AsrOption, RealtimeOption, TtsOption
from active_call.providers.declared import declared_providers
from active_call.providers.registry import Engines
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings
from active_call.providers.shutdowns import shipped_shutdowns, shutdown_of
from active_call.providers.usage.units import Billed


def test_rows_name_known_providers_once_and_their_pages() -> None:
    declared = {(one.kind, name) for one in declared_providers({}) if one.declaration is not None for name in one.declaration.names}
    rows = shipped_shutdowns()
    assert {(row.kind, row.provider) for row in rows} <= declared
    assert len({(row.kind, row.provider, row.model) for row in rows}) == len(rows)
    assert all(row.source.startswith("https://") and row.model == row.model.lower() for row in rows)


@pytest.mark.parametrize(
    ("used", "model"),
    [
        (Billed("llm", "openai", "gpt-4o-mini"), "gpt-4o-mini"),
        (Billed("llm", "openai-responses", "openai/GPT-4o-mini"), "gpt-4o-mini"),
        (Billed("asr", "openai-realtime", "gpt-4o-transcribe"), "gpt-4o-transcribe"),
        (Billed("tts", "hume", "Ava Song"), "*"),
        (Billed("llm", "openai", "gpt-6-luna"), None),
        (Billed("llm", "azure", "gpt-4o-mini"), None),
        (Billed("asr", "10.0.0.7", "whisper-1"), None),
        (Billed("realtime", "openai", ""), None),
    ],
)
def test_model_is_found_under_every_name_of_its_vendor_and_not_on_another_server(used: Billed, model: str | None) -> None:
    found = shutdown_of(used)
    assert (found.model if found is not None else None) == model


def test_engine_whose_model_ends_is_named_in_the_log_with_the_day_and_what_to_choose(caplog: pytest.LogCaptureFixture) -> None:
    http: Any = object()
    engines = Engines(Services(World(), http, None, {}))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "active_call.providers.registry"):
        engines.get_responder(LlmSettings("openai", model="gpt-4o-mini", api_key="k"))
        engines.get_responder(LlmSettings("openai", model="gpt-4o-mini", base_url="http://127.0.0.1:1/v1"))
        engines.get_synthesiser(TtsOption(provider="hume", secret_key="k"))
        engines.get_recogniser(AsrOption(provider="openai", model_type="whisper-1", secret_key="k"))
        engines.get_realtime(RealtimeOption(provider="openai", model="gpt-realtime", secret_key="k"))
    told = [(record.provider, record.model, record.reason) for record in caplog.records]  # type: ignore[attr-defined]
    assert [one[:2] for one in told] == [
        ("openai", "gpt-4o-mini"),
        ("hume", "Ava Song"),
        ("openai", "whisper-1"),
        ("openai", "gpt-realtime"),
    ]
    assert told[0][2].startswith("the vendor ends gpt-4o-mini on 2027-01-14; the vendor recommends gpt-6-luna (https://")
    assert told[1][2].startswith("the vendor ends the service on 2026-11-13; choose another provider or model (https://")
