"""The sinks beside the database: JSON files and HTTP, at least once, through restarts; files are read with the standard library."""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from record_kit import START, alive, die, opened, record, run, statuses, until

from active_call.base.errors import ConfigError
from active_call.base.world import World
from active_call.store.create_records import create_records
from active_call.store.database import outbox
from active_call.store.database.sqlite import Connections, Sqlite
from active_call.store.http_records import HttpRecords
from active_call.store.local_records import LocalRecords, replace_file
from active_call.store.sinks import ClosedRecord, RecordRefused, SinkBusy
from active_call.store.troubles import Troubles


class Sink:
    """Takes records after it has failed as often as it was told to."""

    gives_up = True

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.taken: list[str] = []
        self.is_closed = False

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        if self.failures:
            raise self.failures.pop(0)
        assert json.loads(body)["recordId"] == record_id
        self.taken.append(record_id)

    async def close(self) -> None:
        self.is_closed = True


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'records.db'}"


def deliver_to_files(root: Path, *entries: Any) -> None:
    async def body() -> None:
        files = LocalRecords(root)
        for entry in entries:
            await files.deliver(entry.id, entry.start_time, entry.to_json())
        await files.close()

    asyncio.run(body())


def test_record_is_one_json_file_in_the_folder_of_its_utc_day(tmp_path: Path) -> None:
    east = START.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00+09:00").tzinfo)
    deliver_to_files(tmp_path, record(start=east))
    path = tmp_path / "20260304" / "s.1.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["sessionId"] == "s.1"
    assert datetime.fromisoformat(found["startTime"]) == START
    assert found["sipCode"] is None
    assert found["durationS"] == 60.0
    (line,) = found["turns"]
    assert line == {"speaker": "agent", "text": "Hello", "at": line["at"], "interrupted": True, "latencyMs": 812.5, "modelMs": 300.0}
    assert found["variables"] == {"X-Twilio-CallSid": "CA1", "odd": [1, 2]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["s.1.json"]


@pytest.mark.parametrize("session_id", ["../../etc/passwd", "a/b", "", ".", "..", "ü\n\0", "x" * 5000, ".hidden"])
def test_record_id_never_leaves_the_folder(tmp_path: Path, session_id: str) -> None:
    root = tmp_path / "cdr"
    deliver_to_files(root, record(session_id), record("other"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent == root / "20260304" for path in files)
    assert len(files) == 2


class CountedFiles(LocalRecords):
    """Notes how many records come at once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.batches: list[int] = []

    async def deliver_all(self, records: Sequence[ClosedRecord]) -> tuple[int, SinkBusy | None]:
        self.batches.append(len(records))
        return await super().deliver_all(records)


def test_files_of_records_that_close_together_are_written_together(tmp_path: Path) -> None:
    files = CountedFiles(tmp_path / "cdr")

    async def story() -> None:
        async with opened(sqlite(tmp_path), tmp_path, files) as store:
            for number in range(30):
                store.write(record(f"s.{number}"))
            await until(lambda: len(list((tmp_path / "cdr").rglob("*.json"))) == 30)
            await until(lambda: store.health()["outbox"] == 0)

    asyncio.run(story())
    assert sum(files.batches) == 30
    assert len(files.batches) <= 3


def test_one_file_that_cannot_be_written_delays_those_before_it_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_S", 0.05)
    root = tmp_path / "cdr"
    blocked = root / "20260304" / "s.1.json"
    blocked.mkdir(parents=True)

    async def story() -> None:
        troubles = Troubles()
        async with opened(sqlite(tmp_path), tmp_path, LocalRecords(root), troubles) as store:
            for number in range(3):
                store.write(record(f"s.{number}"))
            await until(lambda: bool(troubles.current()))
            assert (root / "20260304" / "s.0.json").is_file()
            blocked.rmdir()
            await until(lambda: all((root / "20260304" / f"s.{number}.json").is_file() for number in range(3)))
            await until(lambda: store.health()["outbox"] == 0)

    asyncio.run(story())


def test_disk_that_refuses_a_file_leaves_no_part_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_S", 0.05)
    blocked = tmp_path / "20260304" / "s.1.json"
    blocked.mkdir(parents=True)

    async def story() -> None:
        troubles = Troubles()
        async with opened(sqlite(tmp_path), tmp_path, LocalRecords(tmp_path), troubles) as store:
            store.write(record())
            await until(lambda: bool(troubles.current()))
            assert "s.1.json" in troubles.current()[0]["reason"]
            assert [path.name for path in blocked.parent.iterdir()] == ["s.1.json"]
            blocked.rmdir()
            await until(blocked.is_file)
            await until(lambda: not troubles.current())
            await until(lambda: store.health()["outbox"] == 0)

    run(story)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.EDQUOT, errno.EROFS])
def test_file_that_cannot_be_written_now_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_S", 0.05)
    failures = [OSError(code, "no"), OSError(code, "no")]

    def fails_twice(path: Path, data: bytes) -> None:
        if failures:
            raise failures.pop()
        replace_file(path, data)

    monkeypatch.setattr("active_call.store.local_records.replace_file", fails_twice)

    async def story() -> None:
        async with opened(sqlite(tmp_path), tmp_path, LocalRecords(tmp_path)) as store:
            store.begin(alive())
            store.write(record())
            await until((tmp_path / "20260304" / "s.1.json").is_file)

    run(story)


# -- the outbox


def test_sink_that_is_busy_gets_the_record_in_the_end_and_once(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_S", 0.02)

    async def story() -> None:
        sink, troubles = Sink(SinkBusy("full"), SinkBusy("full"), SinkBusy("full")), Troubles()
        async with opened(url, tmp_path, sink, troubles) as store:
            store.write(record("a"))
            store.write(record("b"))
            await until(lambda: len(sink.taken) == 2)
            await until(lambda: not troubles.current())
            await asyncio.sleep(0.3)
            assert sorted(sink.taken) == ["a", "b"]
        assert sink.is_closed

    run(story)


class SlowSink(Sink):
    """Takes a record when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_take = asyncio.Event()
        self.n_asked = 0

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        self.n_asked += 1
        await self.may_take.wait()
        await super().deliver(record_id, started_at, body)


def test_records_written_during_the_last_round_are_delivered_before_the_stop(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        sink = SlowSink()
        async with opened(url, tmp_path, sink) as store:
            store.write(record("a"))
            await until(lambda: sink.n_asked == 1)
            store.write(record("b"))
            asyncio.get_running_loop().call_later(0.5, sink.may_take.set)  # when the store has begun to close
        assert sorted(sink.taken) == ["a", "b"]

    run(story)


def test_what_a_sink_has_not_taken_is_brought_by_the_next_start(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        busy = Sink(*[SinkBusy("down")] * 1000)
        async with opened(url, tmp_path, busy) as store:
            store.write(record("a"))
            await until(lambda: len(busy.failures) < 1000)
        dying = Sink(*[SinkBusy("down")] * 1000)
        from record_kit import a_store

        store = a_store(url, tmp_path, dying)
        await store.start()
        store.write(record("b"))
        await store.flush()
        await die(store)
        sink = Sink()
        async with opened(url, tmp_path, sink) as store:
            await until(lambda: sorted(sink.taken) == ["a", "b"])
            await store.flush()
        nothing_left = Sink()
        async with opened(url, tmp_path, nothing_left) as store:
            await store.flush()
            assert nothing_left.taken == []

    run(story)


def test_record_that_is_refused_for_good_is_a_dead_letter_until_the_next_start(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        sink = Sink(RecordRefused("status 401"))
        async with opened(url, tmp_path, sink) as store:
            store.write(record("a"))
            store.write(record("b"))
            await until(lambda: sink.taken == ["b"])
            await store.flush()
            assert store.health()["dead_letters"] == 1
            assert len(await statuses(store)) == 2
        mended = Sink()
        async with opened(url, tmp_path, mended) as store:
            await until(lambda: mended.taken == ["a"])

    run(story)


def test_clock_that_was_set_back_delays_no_delivery_for_long(tmp_path: Path) -> None:
    async def story() -> None:
        busy = Sink(SinkBusy("down"))
        async with opened(sqlite(tmp_path), tmp_path, busy) as store:
            store.write(record("a"))
            await until(lambda: not busy.failures)
            await store.flush()

            def set_later() -> None:
                with sqlite3.connect(tmp_path / "records.db", timeout=5) as raw:
                    raw.execute("UPDATE outbox SET due_at = '2100-01-01 00:00:00.000000'")
                raw.close()

            await asyncio.to_thread(set_later)  # the store's own transaction needs the loop to end
            store._outbox.wake()
            await until(lambda: busy.taken == ["a"])

    run(story)


def test_clock_that_was_set_forward_makes_no_dead_letters(tmp_path: Path) -> None:
    async def story() -> None:
        busy = Sink(SinkBusy("down"), SinkBusy("down"))
        async with opened(sqlite(tmp_path), tmp_path, busy) as store:
            store.write(record("a"))
            await until(lambda: len(busy.failures) == 1)
            await store.flush()

            def set_before() -> None:
                with sqlite3.connect(tmp_path / "records.db", timeout=5) as raw:
                    raw.execute("UPDATE outbox SET due_at = '2001-01-01 00:00:00.000000', created_at = '2001-01-01 00:00:00.000000'")
                raw.close()

            await asyncio.to_thread(set_before)
            store._outbox.wake()
            await until(lambda: busy.taken == ["a"])

    run(story)


def test_sink_gets_records_past_a_database_that_fails(tmp_path: Path) -> None:
    async def story() -> None:
        sink, troubles = Sink(), Troubles()
        (tmp_path / "records.db").write_bytes(b"this is no database, whatever its name says" * 100)
        async with opened(sqlite(tmp_path), tmp_path, sink, troubles) as store:
            store.begin(alive("a"))
            store.write(record("a"))
            await until(lambda: sink.taken == ["a"])
            assert "records" in {trouble["part"] for trouble in troubles.current()}
        assert list(tmp_path.glob("*.spool"))

    run(story)


def test_full_disk_of_the_database_costs_no_record(tmp_path: Path) -> None:
    async def story() -> None:
        troubles = Troubles()
        async with opened(sqlite(tmp_path), tmp_path, troubles=troubles) as store:
            store.begin(alive("a"))
            await store.flush()
            max_pages = [1]  # SQLite's own word for a disk without room

            class Limited(Connections):
                def take(self) -> Any:
                    connection, idle = super().take()
                    connection.execute(f"PRAGMA max_page_count={max_pages[0]}")
                    return connection, idle

            assert isinstance(store._database._engine, Sqlite)
            store._database._engine.connections = Limited(tmp_path / "records.db")
            store.write(record("a", variables={"long": "x" * 200_000}))
            await until(lambda: bool(troubles.current()))
            assert "full" in troubles.current()[0]["reason"]
            await asyncio.sleep(0.3)
            max_pages[0] = 1_000_000
            await until(lambda: not troubles.current())
            assert await statuses(store) == [("a", "answered")]

    run(story)


# -- HTTP


def post(root: Path, answers: list[int | Exception]) -> tuple[list[httpx.Request], Exception | None]:
    """Deliver one record once to a service that gives this answer; what it saw, and what came of it."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        given = answers[len(requests) - 1]
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given)

    async def body() -> Exception | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            sink = HttpRecords("https://example.com/cdr", {"X-Key": "k"}, client, fallback=LocalRecords(root))
            try:
                await sink.deliver("s.1", START, record().to_json())
            except (SinkBusy, RecordRefused) as error:
                return error
            finally:
                await sink.close()
        return None

    return requests, asyncio.run(body())


def test_http_record_is_posted_once_when_it_is_accepted(tmp_path: Path) -> None:
    (request,), failure = post(tmp_path, [204])
    assert failure is None
    assert (request.method, str(request.url)) == ("POST", "https://example.com/cdr")
    assert request.headers["X-Key"] == "k"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == "s.1"
    assert json.loads(request.content)["sessionId"] == "s.1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [500, 502, 503, 429, httpx.ReadTimeout("late"), httpx.ConnectError("refused")])
def test_http_service_that_fails_is_busy(tmp_path: Path, answer: int | Exception) -> None:
    _, failure = post(tmp_path, [answer])
    assert isinstance(failure, SinkBusy)
    assert list(tmp_path.iterdir()) == []


def test_http_record_that_is_refused_is_kept_as_a_file(tmp_path: Path) -> None:
    _, failure = post(tmp_path, [400])
    assert isinstance(failure, RecordRefused)
    assert (tmp_path / "20260304" / "s.1.json").is_file()


def test_http_service_that_hangs_delays_no_stop_and_gets_the_record_later(tmp_path: Path) -> None:
    async def story() -> None:
        asked, seen = asyncio.Event(), []

        async def hang(request: httpx.Request) -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            return httpx.Response(200)

        async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
            sink = HttpRecords("https://example.com/cdr", {}, client, fallback=LocalRecords(tmp_path))
            async with opened(sqlite(tmp_path), tmp_path, sink) as store:
                store.write(record())
                await asked.wait()
                assert await statuses(store) == [("s.1", "answered")]

        def take(request: httpx.Request) -> httpx.Response:
            seen.append(json.loads(request.content)["sessionId"])
            return httpx.Response(200)

        async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as client:
            sink = HttpRecords("https://example.com/cdr", {}, client, fallback=LocalRecords(tmp_path))
            async with opened(sqlite(tmp_path), tmp_path, sink):
                await until(lambda: seen == ["s.1"])

    run(story)


def test_store_by_type(tmp_path: Path) -> None:
    async def body() -> None:
        world, troubles = World(), Troubles()
        root = str(tmp_path)
        async with httpx.AsyncClient() as client:

            def create(**settings: Any) -> Any:
                return create_records(SimpleNamespace(**settings), client, world, troubles)

            makers: list[Callable[[], Any]] = [
                lambda: create(type="local", root=root, database=""),
                lambda: create(type="http", root=root, url="https://e.example", headers={}, database=""),
                lambda: create(type="database", root=root, url=f"sqlite:///{root}/x.db"),
                lambda: create(type="local", root=root, database=f"sqlite:///{root}/y.db"),
            ]
            for make in makers:
                await make().close()
            with pytest.raises(ConfigError, match="not supported yet in this version; use local, http or database"):
                create(type="s3", root="")
            with pytest.raises(ConfigError, match=r"callrecord\.database"):
                create(type="local", root=root, database="mongodb://x")

    asyncio.run(body())
