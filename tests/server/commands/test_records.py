"""`active-call records`: the finished calls of the database and of a running server."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.store.record_kit import START, record
from typer.testing import CliRunner

from active_call.base.world import World
from active_call.client.client import Client
from active_call.client.errors import ClientError
from active_call.server.commands.main import app
from active_call.server.config.sections import LocalCallRecord
from active_call.store.create_records import create_records
from active_call.store.troubles import Troubles


def listed(*arguments: str) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(app, ["records", *arguments])
    return result.exit_code, result.stdout.splitlines(), result.stderr


def ids(*arguments: str) -> list[str]:
    code, lines, error = listed("--json", *arguments)
    assert (code, error) == (0, "")
    return [json.loads(line)["id"] for line in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with a config file, and with three calls in its records, an hour apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTIVE_CALL_URL", raising=False)
    (tmp_path / "active-call.toml").write_text(f'[callrecord]\ntype = "local"\nroot = "{tmp_path}/records"\n')
    hour = timedelta(hours=1)

    async def write() -> None:
        async with httpx.AsyncClient() as client:
            store = create_records(LocalCallRecord(root=f"{tmp_path}/records"), client, World(), Troubles())
            await store.start()
            store.write(record("s.1", caller="sip:\x1b[2Jalice@a", direction="inbound", status="answered"))
            store.write(record("s.2", caller="sip:bob@b", direction="outbound", status="failed", start_time=START + hour, error="no route"))
            store.write(record("s.3", caller="sip:bob@b", direction="inbound", status="rejected", start_time=START + 2 * hour))
            await store.close()

    asyncio.run(write())
    return tmp_path


def test_finished_calls_are_listed_newest_first_without_control_characters(folder: Path) -> None:
    code, lines, error = listed()
    assert (code, error) == (0, "")
    assert [line.split()[0] for line in lines] == ["s.3", "s.2", "s.1"]
    assert "answered" in lines[2] and "alice@a -> " in lines[2] and lines[2].isprintable()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--caller", "BOB"], ["s.3", "s.2"]),
        (["--direction", "inbound"], ["s.3", "s.1"]),
        (["--status", "completed"], ["s.1"]),
        (["--status", "failed"], ["s.2"]),
        (["--search", "route"], ["s.2"]),
        (["--limit", "1"], ["s.3"]),
        (["--from", (START + timedelta(minutes=30)).isoformat()], ["s.3", "s.2"]),
        (["--to", (START + timedelta(minutes=90)).strftime("%Y-%m-%d %H:%M")], ["s.2", "s.1"]),
        (["--min-duration", "1e6"], []),
    ],
)
def test_filters_choose_the_calls(folder: Path, filters: list[str], found: list[str]) -> None:
    assert ids(*filters) == found


def test_list_without_calls_says_so_but_not_to_programs(folder: Path) -> None:
    assert listed("--caller", "carol") == (0, [], "there are no such finished calls\n")
    assert listed("--caller", "carol", "--json") == (0, [], "")


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        (["--status", "done"], "--status: expected answered, completed, rejected, failed or crashed, found 'done'"),
        (["--direction", "in"], "--direction: expected inbound or outbound, found 'in'"),
        (["--from", "yesterday"], "--from: expected a time such as 2026-03-04T23:59:30Z or 2026-03-04, found 'yesterday'"),
        (["--conf", "missing.toml"], "missing.toml"),
    ],
)
def test_filter_that_cannot_be_used_is_exit_code_2(folder: Path, filters: list[str], told: str) -> None:
    code, lines, error = listed(*filters)
    assert (code, lines) == (2, []) and told in error


def test_server_is_asked_with_the_same_filters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    one = {"id": "s.7", "date": "2026-03-04T10:00:00Z", "durationS": 61.5, "direction": "inbound", "outcome": "answered", "caller": "a"}

    async def records(_: Client, **filters: Any) -> list[dict[str, Any]]:
        asked.append(filters)
        return [one | {"callee": "b"}]

    monkeypatch.setattr(Client, "records", records)
    server = ["--url", "http://127.0.0.1:9"]
    code, lines, _ = listed(*server, "--status", "completed", "--from", "2026-03-04", "--search", "x", "--limit", "7")
    assert (code, asked) == (0, [{"status": "completed", "from_": "2026-03-04", "q": "x", "limit": 7}])
    assert lines == ["s.7  2026-03-04 10:00:00  inbound   answered     61.5 s  a -> b"]

    async def refuse(_: Client, **filters: Any) -> list[dict[str, Any]]:
        raise ClientError("expected a token", status=401)

    monkeypatch.setattr(Client, "records", refuse)
    code, lines, error = listed(*server)
    assert (code, lines) == (2, []) and "--token" in error
