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


def test_vendor_with_a_pair_of_keys_needs_all_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TENCENT_SECRET_ID", "TENCENT_APPID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TENCENT_SECRET_KEY", "k")
    (tencent,) = [one for one in json.loads(CliRunner().invoke(app, ["providers", "asr", "--json"]).stdout) if one["provider"] == "tencent"]
    assert tencent["missing"].startswith("needs TENCENT_SECRET_ID and TENCENT_APPID")
    assert not tencent["usable"]


def test_table_in_a_narrow_terminal_shows_whole_names_and_ready_ones_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("DEEPGRAM_API_KEY", "k")
    for name in ("GOOGLE_SPEECH_API_KEY", "GOOGLE_API_KEY", "HUME_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    heard = CliRunner().invoke(app, ["providers", "asr"]).output
    assert "openai-realtime" in heard and "GOOGLE_SPEECH_API_KEY" in heard and "…" not in heard
    assert heard.index("deepgram") < heard.index("assemblyai")
    assert "ends on 2026-11-13" in CliRunner().invoke(app, ["providers", "tts"]).output


def test_unknown_kind_is_named() -> None:
    printed = CliRunner().invoke(app, ["providers", "stt"])
    assert printed.exit_code == 2 and "asr" in printed.output
