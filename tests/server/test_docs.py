"""The config samples of the guides are loaded as a reader would paste them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from active_call.call.events.hangup_reason import CAUSES
from active_call.contract import commands, events, options
from active_call.contract.unused import WITHOUT_EFFECT
from active_call.server.certificate import write_development_certificate
from active_call.server.commands.main import app
from active_call.server.config.loading import load_config
from active_call.server.config.warnings import UNUSED
from active_call.server.setup.trunks import accounts, active_trunks, dial_plan

DOCS = Path(__file__).parents[2] / "docs"


def samples(name: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    return [re.sub(r"(?m)^ {3}", "", block) for block in blocks]


SAMPLES = [(name, index, text) for name in ("twilio.md", "telnyx.md", "config.md") for index, text in enumerate(samples(name))]


@pytest.mark.parametrize(("name", "index", "text"), SAMPLES, ids=[f"{name}-{index}" for name, index, _ in SAMPLES])
def test_sample_of_a_guide_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, index: int, text: str) -> None:
    del name, index
    monkeypatch.chdir(tmp_path)
    write_development_certificate(tmp_path / "certs" / "cert.pem", tmp_path / "certs" / "key.pem", ["127.0.0.1"])
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "greeting.md").write_text("Hello", encoding="utf-8")
    if re.match(r"(server|caller|headers) =", text):  # a part of a trunk's entry
        login = "" if "username" in text else 'username = "u"\npassword = "p"\n'
        text = f'[[trunks]]\nname = "t"\n{login}{text}'
    text = text.replace("YOUR_PUBLIC_IP", "203.0.113.10").replace("/etc/letsencrypt/live/sip.example.com/fullchain.pem", "certs/cert.pem")
    text = text.replace("/etc/letsencrypt/live/sip.example.com/privkey.pem", "certs/key.pem")
    path = tmp_path / "active-call.toml"
    path.write_text(text, encoding="utf-8")
    keys = {"ACME_OPENAI_KEY": "k", "ACME_DEEPGRAM_KEY": "k", "ACME_TENCENT": "k"}
    config = load_config(path, {}, {"TWILIO_PASSWORD": "p", "TELNYX_PASSWORD": "p", **keys})
    plan = dial_plan(config)
    for trunk in active_trunks(config):
        if trunk.server:
            assert plan.callee_uri("+18005551234").host.lower() == trunk.host
    for account in accounts(config):
        assert account.password


def test_prefix_by_a_rewrite_is_what_the_guide_says(tmp_path: Path) -> None:
    (line,) = re.findall(r"`(rewrites = \[.*?\])`", (DOCS / "telnyx.md").read_text(encoding="utf-8"))
    path = tmp_path / "active-call.toml"
    path.write_text(line, encoding="utf-8")
    plan = dial_plan(load_config(path, {}, {}))
    assert str(plan.callee_uri("sip:+18005678912@sip.telnyx.com")) == "sip:123418005678912@sip.telnyx.com"


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def test_keys_without_effect_are_the_listed_ones() -> None:
    text = (DOCS / "config.md").read_text(encoding="utf-8").partition("## Accepted without effect")[2].partition("\n## ")[0]
    listed = {word for quoted in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[\w.]+", quoted)}
    groups = {"vad", "eou", "asr", "tts", "realtime", "ringbackDetection", "recorder", "sip"}
    expected = set(UNUSED) | {camel(name) for names in WITHOUT_EFFECT.values() for name in names}
    assert listed - groups - {"POST", "precache", "invite", "offer"} == expected - {"realtime"}


@pytest.mark.parametrize("page", ["troubleshooting.md", "design/store.md"])
def test_every_cause_of_an_end_is_explained(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [cause for cause in CAUSES if f"`{cause}`" not in text] == []


def test_every_event_and_command_has_its_row() -> None:
    text = (DOCS / "http-api.md").read_text(encoding="utf-8")
    shown = text.partition("## Events")[2].partition("\n## ")[0], text.partition("## Commands")[2].partition("\n## Kept speech")[0]
    not_emitted = {"other", "binary", "ping"}
    assert [name for name in tags(events.Event) if f"| `{name}`" not in shown[0] and f", `{name}`" not in shown[0]] == sorted(not_emitted)
    assert [name for name in tags(commands.Command) if f"`{name}`" not in shown[1]] == []


def tags(union: object) -> list[str]:
    return sorted(str(cls.__struct_config__.tag) for cls in get_args(union))


def test_files_of_the_table_of_questions_exist() -> None:
    table = (DOCS / "design" / "README.md").read_text(encoding="utf-8").partition("## Where to find it")[2]
    named = re.findall(r"`([a-z0-9_]+(?:/[a-z0-9_]+)+)`", table)
    source = DOCS.parent / "src" / "active_call"
    assert len(named) > 15
    assert [name for name in named if not (source / name).with_suffix(".py").exists()] == []


def test_every_command_is_in_the_table() -> None:
    table = (DOCS / "config.md").read_text(encoding="utf-8").partition("## Command line")[2].partition("\n## ")[0]
    names = {str(name) for name in get_command(app).commands}  # type: ignore[attr-defined]
    assert len(names) > 15
    assert [name for name in sorted(names) if not re.search(rf"`(active-call )?\[?{name}\b", table)] == []


def test_every_option_of_a_call_is_in_a_guide() -> None:
    guides = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    groups = [group for group in vars(options).values() if isinstance(group, type) and issubclass(group, options.Options)]
    names = {name for group in groups for name in group.__struct_encode_fields__}
    assert len(names) > 80
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", guides)] == []
