"""`[keys.NAME]`: mistakes are named by their line, and no key is shown anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.base.errors import ConfigError
from active_call.server.commands.main import app
from active_call.server.config.config import Config, key_variables
from active_call.server.config.loading import load_config
from active_call.server.doctor.provider_targets import provider_targets
from active_call.server.http.console_facts import settings_of

TEXT = """
[keys.acme]
openai = "${ACME_KEY}"
TENCENT_SECRET_ID = "an-id-of-acme"

[[trunks]]
name = "acme"
server = "sip.acme.example"
keys = "acme"
"""
ENVIRONMENT = {"ACME_KEY": "sk-acme-1234"}


def config_of(tmp_path: Path, text: str = TEXT) -> Config:
    file = tmp_path / "active-call.toml"
    file.write_text(text)
    return load_config(file, {}, ENVIRONMENT)


def test_keys_come_from_the_environment_and_are_shown_nowhere(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert key_variables(config) == {"acme": {"OPENAI_API_KEY": "sk-acme-1234", "TENCENT_SECRET_ID": "an-id-of-acme"}}
    shown = {setting["key"]: setting["value"] for setting in settings_of(config)}
    assert shown["keys.acme.openai"] == shown["keys.acme.TENCENT_SECRET_ID"] != "" and shown["trunks[0].keys"] == "acme"
    for text in (repr(config), str(shown)):
        assert "sk-acme" not in text and "an-id-of" not in text


@pytest.mark.parametrize(
    ("before", "after", "place", "word"),
    [
        ('keys = "acme"', 'keys = "acmee"', "9: trunks[0].keys", "there is no key set 'acmee'; the config file has: acme"),
        ("openai = ", "opnai = ", "3: keys.acme.opnai", "unknown provider"),
        ('"${ACME_KEY}"', '""', "3: keys.acme.openai", "is empty"),
        ('"${ACME_KEY}"', "12345678", "3: keys.acme.openai", "found a int"),
        ("${ACME_KEY}", "${NO_KEY}", "3: keys.acme.openai", "NO_KEY is not set"),
    ],
)
def test_mistake_names_its_line_and_not_its_value(tmp_path: Path, before: str, after: str, place: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, TEXT.replace(before, after, 1))
    told = str(caught.value)
    assert f":{place}" in told and word in told and "12345678" not in told


def test_doctor_tries_the_providers_of_each_set(tmp_path: Path) -> None:
    targets = [target for target in provider_targets(config_of(tmp_path), {}) if target.keys == "acme"]
    assert {(target.kind, target.provider) for target in targets} >= {("llm", "openai"), ("tts", "openai"), ("realtime", "openai")}
    assert {target.whose for target in targets} == {"keys.acme"}


def test_playbook_check_tells_a_set_that_the_config_file_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    book = tmp_path / "book.md"
    book.write_text("---\nllm: {provider: openai}\ngreeting: Hi.\nkeys: acmme\n---\nTalk.\n")
    unknown = CliRunner().invoke(app, ["playbook", "check", str(book)])
    assert unknown.exit_code == 0  # no config file here
    (tmp_path / "active-call.toml").write_text(TEXT)
    result = CliRunner().invoke(app, ["playbook", "check", str(book)])
    assert result.exit_code == 2 and "book.md:4: keys: there is no key set 'acmme'; did you mean 'acme'" in result.output
    book.write_text(book.read_text().replace("acmme", "acme"))
    assert CliRunner().invoke(app, ["playbook", "check", "--conf", str(tmp_path / "active-call.toml"), str(book)]).exit_code == 0
