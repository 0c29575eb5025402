"""Call records on disk and over HTTP, judged by reading the files with the standard library."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from active_call.base.errors import ConfigError
from active_call.store.http_records import HttpRecords
from active_call.store.local_records import LocalRecords
from active_call.store.records import CallRecord, TranscriptLine, create_sink

START = datetime(2026, 3, 4, 23, 59, 30, tzinfo=UTC)


def record(session_id: str = "s.1", start: datetime = START, **changes: Any) -> CallRecord:
    values: dict[str, Any] = {
        "session_id": session_id,
        "call_id": "abc@198.51.100.1",
        "direction": "inbound",
        "caller": "sip:+15551230001@example.com",
        "callee": "sip:+15551230002@example.com",
        "start_time": start,
        "answer_time": start + timedelta(seconds=1),
        "end_time": start + timedelta(seconds=61),
        "duration_s": 60.0,
        "status": "answered",
        "hangup_reason": "bye",
        "hangup_by": "caller",
        "variables": {"X-Twilio-CallSid": "CA1", "odd": {1, 2}},
        "turns": (TranscriptLine(speaker="agent", text="Hello", at=start, interrupted=True, latency_ms=812.5, model_ms=300.0),),
        "events": ({"event": "answer", "timestamp": 1},),
    }
    return CallRecord(**{**values, **changes})


def with_local(root: Path, work: Callable[[LocalRecords], Any]) -> Any:
    async def body() -> Any:
        store = LocalRecords(root)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(body())


def write_all(root: Path, *records: CallRecord) -> None:
    async def work(store: LocalRecords) -> None:
        for entry in records:
            await store.write(entry)

    with_local(root, work)


def test_record_is_one_json_file_in_the_folder_of_its_utc_day(tmp_path: Path) -> None:
    east = START.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00+09:00").tzinfo)
    write_all(tmp_path, record(start=east))
    path = tmp_path / "20260304" / "s.1.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["sessionId"] == "s.1"
    assert datetime.fromisoformat(found["startTime"]) == START
    assert found["sipCode"] is None
    assert found["durationS"] == 60.0
    (line,) = found["turns"]
    assert line == {"speaker": "agent", "text": "Hello", "at": line["at"], "interrupted": True, "latencyMs": 812.5, "modelMs": 300.0}
    assert found["variables"] == {"X-Twilio-CallSid": "CA1", "odd": [1, 2]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {entry.name for entry in path.parent.iterdir()} == {"s.1.json", "index.jsonl"}


def test_list_is_newest_first_in_pages_across_days_and_restarts(tmp_path: Path) -> None:
    entries = [record(f"s.{index}", START + timedelta(hours=7 * index)) for index in range(10)]
    write_all(tmp_path, *entries[5:], *entries[:5])
    store = LocalRecords(tmp_path)
    wanted = [f"s.{index}" for index in reversed(range(10))]
    assert [entry["id"] for entry in store.list(100)] == wanted
    assert [entry["id"] for entry in store.list(3, 4)] == wanted[4:7]
    assert store.list(5, 50) == []
    assert store.list(0) == []
    first = store.list(1)[0]
    assert {"id", "date", "duration", "status"} <= first.keys()
    assert json.loads(json.dumps(first)) == first
    asyncio.run(store.close())


def test_list_shows_what_was_written_after_it_was_first_asked(tmp_path: Path) -> None:
    async def work(store: LocalRecords) -> list[list[str]]:
        seen = []
        for entry in (record("a"), record("b", START + timedelta(seconds=5)), record("a", status="failed")):
            await store.write(entry)
            seen.append([f"{found['id']} {found['status']}" for found in store.list(10)])
        return seen

    seen = with_local(tmp_path, work)
    assert seen == [["a answered"], ["b answered", "a answered"], ["b answered", "a failed"]]
    assert [entry["status"] for entry in LocalRecords(tmp_path).list(10)] == ["answered", "failed"]


def test_damaged_or_missing_index_loses_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_all(tmp_path, record("a"), record("b"), record("c"))
    index = tmp_path / "20260304" / "index.jsonl"
    index.write_bytes(index.read_bytes().splitlines()[0] + b'\n{"id": "b", "da')
    (tmp_path / "20260304" / "d.json").write_text("not json", encoding="utf-8")
    (tmp_path / "20260304" / "c.json").unlink()
    assert {entry["id"] for entry in LocalRecords(tmp_path).list(10)} == {"a", "b"}
    index.unlink()
    assert {entry["id"] for entry in LocalRecords(tmp_path).list(10)} == {"a", "b"}
    assert "call record cannot be read" in caplog.text


def test_get_returns_the_whole_record_or_none(tmp_path: Path) -> None:
    write_all(tmp_path, record("s.1"), record("s.2", START + timedelta(days=3)))
    store = LocalRecords(tmp_path)
    found = store.get("s.1")
    assert found is not None
    assert found["turns"][0]["text"] == "Hello"
    assert store.get("s.3") is None
    (tmp_path / "20260304" / "s.1.json").write_text("{", encoding="utf-8")
    assert store.get("s.1") is None


@pytest.mark.parametrize("session_id", ["../../etc/passwd", "a/b", "", ".", "..", "ü\n\0", "x" * 5000, ".hidden"])
def test_session_id_never_leaves_the_folder_and_is_found_again(tmp_path: Path, session_id: str) -> None:
    root = tmp_path / "cdr"
    write_all(root, record(session_id), record("other"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent == root / "20260304" for path in files)
    assert len(files) == 3
    store = LocalRecords(root)
    found = store.get(session_id)
    assert found is not None
    assert found["sessionId"] == session_id
    assert {entry["id"] for entry in store.list(10)} == {session_id, "other"}


def test_ids_that_look_alike_on_disk_stay_two_records(tmp_path: Path) -> None:
    write_all(tmp_path, record("a/b"), record("a?b"), record("a_b"))
    assert {entry["id"] for entry in LocalRecords(tmp_path).list(10)} == {"a/b", "a?b", "a_b"}


def test_disk_that_refuses_is_logged_with_the_record_and_leaves_no_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "20260304" / "s.1.json").mkdir(parents=True)
    write_all(tmp_path, record())
    (entry,) = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert entry.message == "call record could not be written"
    assert json.loads(vars(entry)["record"])["sessionId"] == "s.1"
    assert [path.name for path in (tmp_path / "20260304").iterdir()] == ["s.1.json"]


# -- HTTP


def deliver(root: Path, answers: list[int | Exception]) -> tuple[list[httpx.Request], list[dict[str, Any]]]:
    """Write one record to a service that gives these answers in turn; the requests it saw, and what was kept locally."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        given = answers[len(requests) - 1]
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given)

    async def body() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            sink = HttpRecords("https://example.com/cdr", {"X-Key": "k"}, client, fallback=LocalRecords(root), pauses_s=(0.0,))
            await sink.write(record())
            kept = sink.list(10)
            await sink.close()
            return kept

    return requests, asyncio.run(body())


def test_http_record_is_posted_once_when_it_is_accepted(tmp_path: Path) -> None:
    (request,), kept = deliver(tmp_path, [204])
    assert (request.method, str(request.url)) == ("POST", "https://example.com/cdr")
    assert request.headers["X-Key"] == "k"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content)["sessionId"] == "s.1"
    assert kept == []
    assert list(tmp_path.iterdir()) == []


def test_http_record_is_tried_again_and_then_delivered(tmp_path: Path) -> None:
    requests, kept = deliver(tmp_path, [503, httpx.ConnectError("refused"), 200])
    assert len(requests) == 3
    assert kept == []


@pytest.mark.parametrize(("answers", "n_requests"), [([500, 502, 503], 3), ([400], 1), ([httpx.ReadTimeout("late")] * 3, 3)])
def test_http_record_that_is_not_accepted_is_kept_locally(tmp_path: Path, answers: list[int | Exception], n_requests: int) -> None:
    requests, kept = deliver(tmp_path, answers)
    assert len(requests) == n_requests
    assert [entry["id"] for entry in kept] == ["s.1"]


def test_http_record_is_kept_locally_when_the_server_stops_meanwhile(tmp_path: Path) -> None:
    async def body() -> None:
        asked = asyncio.Event()

        async def hang(request: httpx.Request) -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            return httpx.Response(200)

        async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
            sink = HttpRecords("https://example.com/cdr", {}, client, fallback=LocalRecords(tmp_path))
            task = asyncio.create_task(sink.write(record()))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await sink.close()
        assert (tmp_path / "20260304" / "s.1.json").is_file()

    asyncio.run(body())


def test_create_sink_by_type(tmp_path: Path) -> None:
    async def body() -> None:
        async with httpx.AsyncClient() as client:
            local = create_sink(SimpleNamespace(type="local", root=str(tmp_path)), client)
            http = create_sink(SimpleNamespace(type="http", root=str(tmp_path), url="https://e.example", headers={}), client)
            assert isinstance(local, LocalRecords)
            assert isinstance(http, HttpRecords)
            for kind in ("s3", "database"):
                with pytest.raises(ConfigError, match="not supported yet in this version; use local or http"):
                    create_sink(SimpleNamespace(type=kind, root=""), client)
            await local.close()
            await http.close()

    asyncio.run(body())
