"""`active-call show`: the record of a call, with the waterfall of each reply."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.store.record_kit import START, record
from typer.testing import CliRunner

from active_call.base.world import World
from active_call.contract.events import TurnWait
from active_call.server.commands.main import app
from active_call.server.commands.show import waterfall
from active_call.server.config.sections import LocalCallRecord
from active_call.store.create_records import create_records
from active_call.store.records import TranscriptLine
from active_call.store.troubles import Troubles

WAITS = (
    TurnWait(owner="turn", start=0.0, duration=200.0),
    TurnWait(owner="recogniser", start=200.0, duration=60.0),
    TurnWait(owner="model", start=260.0, duration=300.0),
    TurnWait(owner="server", start=560.0, duration=40.0),
)
REPLY = TranscriptLine(
    speaker="agent", text="Gladly.\x1b[2J", at=START, latency_ms=600.0, waits=WAITS, marks_ms={"firstPacket": 600.0, "finalWords": 260.0}
)

USAGE = (
    {"kind": "llm", "provider": "openai", "model": "gpt-4o-mini", "units": {"inputTokens": 12000}, "cost": 0.0018, "estimated": False},
    {"kind": "tts", "provider": "acme", "units": {"characters": 41, "cachedCharacters": 8}, "estimated": True},
)
COST = {"currency": "USD", "total": 0.0018, "complete": False, "estimated": True, "unpriced": ["tts acme"]}


def shown(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["show", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with a config file, and with one call in its records."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "active-call.toml").write_text(f'[callrecord]\ntype = "local"\nroot = "{tmp_path}/records"\n')

    async def write() -> None:
        async with httpx.AsyncClient() as client:
            store = create_records(LocalCallRecord(root=f"{tmp_path}/records"), client, World(), Troubles())
            await store.start()
            store.write(
                record("s.42", usage=USAGE, cost=COST, turns=(TranscriptLine(speaker="caller", text="A table, please.", at=START), REPLY))
            )
            await store.close()

    asyncio.run(write())
    return tmp_path


def test_call_is_shown_with_a_line_for_each_wait(folder: Path) -> None:
    code, text = shown("s.42")
    assert code == 0
    assert "caller: A table, please." in text
    assert "600 ms from the caller's last voiced packet to our first" in text
    lines = [line.split() for line in text.splitlines() if "|" in line]
    assert [(line[0], line[-2]) for line in lines] == [("end", "200"), ("recogniser", "60"), ("model", "300"), ("this", "40")]
    assert "final words 260, first voiced packet out 600" in text
    assert "\x1b" not in text


def test_text_of_strangers_in_a_record_moves_no_cursor(tmp_path: Path) -> None:
    bad = "\x1b]0;owned\x07\x9b2J\u202e\nsecond line"
    turn = {"speaker": bad, "text": bad, "latencyMs": 5.0, "waits": [{"owner": bad, "start": 0.0, "duration": 5.0}], "marksMs": {bad: 1.0}}
    whole = {"sessionId": bad, "caller": bad, "callee": bad, "hangupBy": bad, "hangupReason": bad, "turns": [turn]}
    (tmp_path / "r.json").write_text(json.dumps(whole), encoding="utf-8")
    code, text = shown(str(tmp_path / "r.json"))
    assert code == 0 and "owned" in text
    assert all(line.isprintable() and not line.startswith("second") for line in text.splitlines())
    told = shown(str(tmp_path / "r.json"), "--json")[1].removesuffix("\n")
    assert told.isprintable() and json.loads(told) == whole


def test_record_is_shown_from_a_file_and_as_json(folder: Path) -> None:
    (file,) = (folder / "records").rglob("*.json")
    assert shown(str(file)) == shown("s.42")
    whole: dict[str, Any] = json.loads(shown("s.42", "--json")[1])
    assert whole["turns"][1]["waits"][2] == {"owner": "model", "start": 260.0, "duration": 300.0}


def test_what_the_call_used_and_cost_is_shown(folder: Path) -> None:
    text = shown("s.42")[1]
    assert "cost 0.0018 USD (estimated); without a price: tts acme" in text
    assert "0.0018  llm openai gpt-4o-mini: 12,000 input tokens\n" in text
    assert "no price  tts acme: 41 characters, 8 cached characters (estimated)" in text


def test_unknown_call_and_unusable_file_have_their_own_exit_codes(folder: Path) -> None:
    assert shown("s.43")[0] == 1
    (folder / "x.json").write_text("[]")
    assert shown("x.json")[0] == 2


def test_bars_lie_side_by_side_and_fill_the_width() -> None:
    waits = [{"owner": "turn", "start": 0.0, "duration": 500.0}, {"owner": "server", "start": 500.0, "duration": 500.0}]
    first, second = (line.split("|")[1] for line in waterfall(1000.0, waits, {})[1:])
    assert (first, second) == ("#" * 24 + " " * 24, " " * 24 + "#" * 24)
    assert waterfall(0.0, [], {}) == ["0 ms from the caller's last voiced packet to our first"]
