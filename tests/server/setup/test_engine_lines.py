"""The banner of `serve` says which engines calls use, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.call.opening.routing import Playbooks
from active_call.server.config.loading import load_config
from active_call.server.setup.engine_lines import engine_lines


def lines(home: Path, config: str, environment: dict[str, str] | None = None) -> list[str]:
    path = home / "active-call.toml"
    path.write_text(f'addr = "127.0.0.1"\n{config}', encoding="utf-8")
    playbooks = Playbooks(lambda name: home / name, environment or {})
    return engine_lines(load_config(path, {}, environment or {}), playbooks, environment or {})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.md").write_text("---\nllm: {provider: script}\n---\n## a\nYes.\n", encoding="utf-8")
    (tmp_path / "model.md").write_text("---\nllm: {model: m}\ntts: {speaker: en-us+f3}\n---\nTalk.\n", encoding="utf-8")
    return tmp_path


def test_without_playbooks_the_defaults_are_told(home: Path) -> None:
    assert lines(home, "") == [
        "asr: moonshine (installed, English; no key), tts: piper joe (installed, English; no key; then espeak), no language model"
    ]
    assert lines(home, '[tts]\nprovider = "espeak"\n')[0].endswith("tts: espeak (chosen by tts.provider), no language model")


def test_each_choice_is_told_once_with_its_playbooks_and_a_missing_engine_with_what_to_do(home: Path) -> None:
    config = '[handler]\ntype = "playbook"\ndefault = "script.md"\nrules = [{callee = "^1", playbook = "model.md"}]\n'
    script, model = sorted(lines(home, config), reverse=True)
    assert script.startswith("script.md: asr: moonshine")
    assert model.startswith("model.md: ") and "OPENAI_API_KEY" in model
    (told,) = [line for line in lines(home, config, {"OPENAI_API_KEY": "k"}) if line.startswith("model.md")]
    assert told == (
        "model.md: asr: openai (OPENAI_API_KEY is set; then moonshine), tts: espeak en-us+f3 (it has the voice 'en-us+f3'),"
        " llm: openai m (OPENAI_API_KEY is set)"
    )
