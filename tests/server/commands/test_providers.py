"""`active-call providers`, and docs/providers.md, which is made by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.providers.declared import declared_providers
from active_call.providers.entry_points import found_adapters
from active_call.server.commands.main import app

PAGE = Path(__file__).parents[3] / "docs" / "providers.md"


def test_page_is_what_the_adapters_declare() -> None:
    printed = CliRunner().invoke(app, ["providers", "--markdown"])
    assert printed.exit_code == 0
    assert printed.stdout == PAGE.read_text(encoding="utf-8"), "write it anew: active-call providers --markdown > docs/providers.md"


def test_every_adapter_of_this_program_declares_itself() -> None:
    declared = {(one.kind, name) for one in declared_providers({}) if one.declaration is not None for name in one.declaration.names}
    own = {
        (kind, name)
        for kind in ("asr", "tts", "llm", "realtime")
        for name, module in found_adapters(kind).items()
        if "active_call." in module
    }
    assert own <= declared


def test_provider_is_ready_where_its_key_is_and_says_what_it_needs_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPGRAM_API_KEY", "k")
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    printed = CliRunner().invoke(app, ["providers", "tts", "--json"])
    found = {one["provider"]: one for one in json.loads(printed.stdout)}
    assert found["deepgram"]["usable"] and found["espeak"]["usable"]
    assert not found["cartesia"]["usable"] and "CARTESIA_API_KEY" in found["cartesia"]["missing"]
    assert "word times" in found["cartesia"]["features"]
    assert CliRunner().invoke(app, ["providers"]).exit_code == 0


def test_unknown_kind_is_named() -> None:
    printed = CliRunner().invoke(app, ["providers", "stt"])
    assert printed.exit_code == 2 and "asr" in printed.output
