"""Records in SQLite and in PostgreSQL: begun, changed, closed, found again."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))

from peers.postgres import Postgres
from record_kit import START, a_store, alive, opened, record, run, statuses

from active_call.base.errors import ConfigError
from active_call.store.database import schema
from active_call.store.database.connection import Database
from active_call.store.database.errors import DatabaseError
from active_call.store.database.records import DatabaseRecords
from active_call.store.database.schema import REVISIONS, Revision
from active_call.store.database.url import parse_database_url
from active_call.store.records import RecordQuery, RecordsUnavailable
from active_call.store.troubles import Troubles


def test_call_is_in_the_list_when_it_is_over_and_not_before(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as store:
            store.begin(alive())
            assert await statuses(store) == []
            assert await store.get("s.1") is None
            store.update(alive(ring_time=START))
            store.write(record())
            assert await statuses(store) == [("s.1", "answered")]
            whole = await store.get("s.1")
            assert whole is not None
            assert whole["turns"][0]["text"] == "Hello"
            assert whole["variables"] == {"X-Twilio-CallSid": "CA1", "odd": [1, 2]}
            assert datetime.fromisoformat(whole["startTime"]) == START
        async with opened(url, tmp_path) as store:
            assert await statuses(store) == [("s.1", "answered")]

    run(story)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (RecordQuery(), ["d", "c", "b", "a"]),
        (RecordQuery(caller="0001@EXAMPLE"), ["b", "a"]),
        (RecordQuery(caller="%"), []),
        (RecordQuery(caller="_"), ["d"]),
        (RecordQuery(callee="bakery"), ["c"]),
        (RecordQuery(direction="outbound"), ["b"]),
        (RecordQuery(status="failed"), ["c"]),
        (RecordQuery(trunk="twilio"), ["a"]),
        (RecordQuery(playbook="sales.md"), ["a"]),
        (RecordQuery(since=START + timedelta(hours=2)), ["d", "c"]),
        (RecordQuery(until=START + timedelta(hours=2)), ["b", "a"]),
        (RecordQuery(since=START + timedelta(hours=1), until=START + timedelta(hours=2)), ["b"]),
        (RecordQuery(min_duration_s=30.0), ["d", "a"]),
        (RecordQuery(text="BROKEN pipe"), ["c"]),
        (RecordQuery(text="' OR 1=1 --"), []),
        (RecordQuery(caller="0001", direction="inbound"), ["a"]),
    ],
)
def test_filters_let_through_what_they_say(url: str, tmp_path: Path, query: RecordQuery, wanted: list[str]) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as store:
            store.write(record("a", trunk="twilio", playbook="sales.md", duration_s=60.0))
            store.write(record("b", START + timedelta(hours=1), direction="outbound", duration_s=1.0))
            changes = {"callee": "sip:Bakery@example.com", "caller": "sip:x@y", "duration_s": 2.0}
            store.write(record("c", START + timedelta(hours=2), status="failed", error="tts: Broken pipe", **changes))
            store.write(record("d", START + timedelta(hours=3), caller="sip:under_score@example.com", duration_s=30.0))
            page = await store.list(query)
            assert [item["id"] for item in page.items] == wanted
            assert page.total == len(wanted)

    run(story)


def test_pages_by_offset_and_by_cursor_meet_each_record_once(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as store:
            for index in range(11):  # five of them begin at the same instant
                store.write(record(f"s.{index}", START + timedelta(hours=max(0, index - 4))))
            whole = [item["id"] for item in (await store.list(RecordQuery(limit=100))).items]
            by_offset = [item["id"] for offset in (0, 4, 8) for item in (await store.list(RecordQuery(limit=4, offset=offset))).items]
            by_cursor: list[str] = []
            query: RecordQuery | None = RecordQuery(limit=4)
            while query is not None:
                page = await store.list(query)
                assert page.total == 11
                by_cursor += [item["id"] for item in page.items]
                query = RecordQuery(limit=4, before=page.more) if page.more is not None else None
            assert len(set(whole)) == 11
            assert by_offset == by_cursor == whole

    run(story)


def test_id_that_a_client_uses_again_makes_a_record_of_its_own(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        for round_no in range(2):
            async with opened(url, tmp_path) as store:
                for index in range(3):
                    start = START + timedelta(hours=round_no * 10 + index)
                    store.begin(alive("mine", start))
                    store.write(record("mine", start, caller=f"sip:{round_no}-{index}@x"))
        async with opened(url, tmp_path) as store:
            page = await store.list(RecordQuery())
            ids = [item["id"] for item in page.items]
            assert len(set(ids)) == 6
            assert "mine" in ids
            for item in page.items:
                whole = await store.get(item["id"])
                assert whole is not None
                assert (whole["recordId"], whole["sessionId"], whole["caller"]) == (item["id"], "mine", item["caller"])

    run(story)


ODD = ["a\ud83d", "\udcff\udcfe", "nul\0nul", "\x1b[31m", "ü" * 5000, "‮evil", '"; DROP TABLE calls; --']


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_record_with_odd_text_anywhere_is_kept_in_a_repaired_form(url: str, tmp_path: Path, odd: str) -> None:
    async def story() -> None:
        deep: list[object] = []
        for _ in range(500):
            deep = [deep]
        fields = dict.fromkeys(("caller", "callee", "call_id", "hangup_reason", "hangup_by", "playbook", "trunk", "error"), odd)
        variables = {odd: odd, "nan": float("nan"), "inf": [float("inf")], "deep": deep, "odd": object(), "bytes": b"\xff"}
        async with opened(url, tmp_path) as store:
            store.begin(alive(odd, caller=odd, callee=odd))
            store.write(record(odd, variables=variables, events=({"event": odd, "text": odd},), **fields))
            store.write(record("plain", START + timedelta(seconds=1)))
            page = await store.list(RecordQuery())
            assert page.total == 2
            whole = await store.get(page.items[1]["id"])
            assert whole is not None
            assert whole["variables"]["nan"] is None
            assert "\0" not in whole["caller"]
            assert whole["hangupReason"] == whole["caller"]
            assert store.health()["lost"] == 0

    run(story)


def test_value_that_no_database_takes_costs_its_own_record_only(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as store:
            store.write(record("a"))
            store.write(record("b", sip_code=2**80))
            store.write(record("c"))
            assert await statuses(store) == [("a", "answered"), ("c", "answered")]
            assert store.health()["lost"] == 1
        assert "call record could not be written" in caplog.text

    run(story)


def test_a_thousand_short_calls_are_a_thousand_records(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as store:
            for index in range(1000):
                store.begin(alive(f"s.{index}"))
                store.update(alive(f"s.{index}", ring_time=START))
                if index >= 10:
                    store.write(record(f"s.{index - 10}"))
            for index in range(990, 1000):
                store.write(record(f"s.{index}"))
            assert await store.flush(30)
            assert (await store.list(RecordQuery())).total == 1000

    run(story)


EARLIER = """
CREATE TABLE calls (
	seq {id} NOT NULL, id TEXT NOT NULL, session_id TEXT NOT NULL, node TEXT NOT NULL, state VARCHAR(8) NOT NULL,
	status VARCHAR(16) NOT NULL, direction VARCHAR(16) NOT NULL, call_type VARCHAR(16) NOT NULL, caller TEXT NOT NULL,
	callee TEXT NOT NULL, call_id TEXT NOT NULL, trunk TEXT NOT NULL, playbook TEXT NOT NULL, started_at {time} NOT NULL,
	ringing_at {time}, answered_at {time}, ended_at {time}, duration_s FLOAT NOT NULL, hangup_reason TEXT NOT NULL,
	hangup_by TEXT NOT NULL, sip_code INTEGER, error TEXT, body TEXT, PRIMARY KEY (seq), UNIQUE (id)
);
CREATE INDEX calls_by_session ON calls (session_id);
CREATE INDEX calls_by_start ON calls (started_at, seq);
CREATE INDEX calls_by_state ON calls (state, node);
CREATE TABLE imports (source TEXT NOT NULL, finished_at {time} NOT NULL, PRIMARY KEY (source));
CREATE TABLE nodes (node TEXT NOT NULL, slot TEXT NOT NULL, seen_at {time} NOT NULL, PRIMARY KEY (node));
CREATE TABLE outbox (
	seq {id} NOT NULL, record_id TEXT NOT NULL, node TEXT NOT NULL, state VARCHAR(8) NOT NULL, attempts INTEGER NOT NULL,
	due_at {time} NOT NULL, created_at {time} NOT NULL, error TEXT, PRIMARY KEY (seq)
);
CREATE INDEX outbox_by_node ON outbox (node, state, due_at);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version (version_num) VALUES ('0001');
INSERT INTO calls (
	id, session_id, node, state, status, direction, call_type, caller, callee, call_id, trunk, playbook, started_at, answered_at, ended_at,
	duration_s, hangup_reason, hangup_by, body
) VALUES (
	'old', 'old', 'n', 'closed', 'answered', 'inbound', 'sip', 'a', 'b', 'c', '', '', '2026-03-04 23:59:30.000000{zone}',
	'2026-03-04 23:59:31.500000{zone}', '2026-03-05 00:00:31.000000{zone}', 60.0, 'bye', 'caller', '{{"recordId": "old"}}'
);
"""
"""What version 0.1.0 wrote by SQLAlchemy and Alembic, as these two put it."""


def _execute(url: str, script: str) -> None:
    """Execute statements in a database, without code of ours."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
        return

    async def run_script() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(script)
        await connection.close()

    asyncio.run(run_script())


def _earlier_database(url: str) -> None:
    is_sqlite = url.startswith("sqlite")
    types = {"id": "INTEGER", "time": "DATETIME", "zone": ""}
    _execute(url, EARLIER.format_map(types if is_sqlite else {"id": "BIGSERIAL", "time": "TIMESTAMP WITH TIME ZONE", "zone": "+00"}))


def _schema(url: str) -> list[object]:
    """Tables with columns, keys and indexes, as the database describes them."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            columns = [(name, connection.execute(f"PRAGMA table_info({name})").fetchall()) for name in tables]
            indexes = connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name")
            return [*columns, *((name, table, str(sql).split()) for name, table, sql in indexes)]

    async def ask() -> list[object]:
        connection = await asyncpg.connect(url)
        columns = await connection.fetch(
            "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
            "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        )
        indexes = await connection.fetch(
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
        )
        await connection.close()
        return [*map(tuple, columns), *map(tuple, indexes)]

    return asyncio.run(ask())


def _open(url: str) -> None:
    async def story() -> None:
        database = Database(parse_database_url(url))
        try:
            await database.open()
        finally:
            await database.close()

    asyncio.run(story())


def test_database_of_an_earlier_version_is_used_as_it_is(url: str, tmp_path: Path) -> None:
    _earlier_database(url)
    earlier = _schema(url)

    async def story() -> None:
        async with opened(url, tmp_path) as store:
            store.write(record("new"))
            page = await store.list(RecordQuery())
            assert [item["id"] for item in page.items] == ["old", "new"] or [item["id"] for item in page.items] == ["new", "old"]
            (old,) = (item for item in page.items if item["id"] == "old")
            assert datetime.fromisoformat(old["date"]) == START
            assert await store.get("old") == {"recordId": "old"}

    run(story)
    assert _schema(url) == earlier


def test_new_database_has_the_tables_of_the_earlier_version(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _open(url)
    _open(url)  # has nothing to do
    if url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path / 'earlier.db'}"
    else:
        other = request.getfixturevalue("postgres").new_database("earlier_tables")
    _earlier_database(other)
    assert _schema(url) == _schema(other)


def test_revisions_that_a_database_lacks_are_run_in_order(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _open(url)
    later = (
        Revision("0002", ("CREATE TABLE more (seq {id} NOT NULL, PRIMARY KEY (seq))",)),
        Revision("0003", ("ALTER TABLE more ADD COLUMN seen_at {time}",)),
    )
    monkeypatch.setattr(schema, "REVISIONS", (*REVISIONS, *later))
    _open(url)
    assert "seen_at" in str([entry for entry in _schema(url) if "more" in str(entry)])
    _open(url)
    monkeypatch.setattr(schema, "REVISIONS", (*REVISIONS, Revision("0004", ("CREATE TABLE calls (seq {id})",))))
    with pytest.raises(ConfigError, match="another version"):  # 0003 is unknown to that version
        _open(url)


def test_revision_that_fails_leaves_the_database_as_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _open(url)
    before = _schema(url)
    failing = Revision("0002", ("CREATE TABLE more (seq {id} NOT NULL, PRIMARY KEY (seq))", "CREATE TABLE calls (seq {id})"))
    monkeypatch.setattr(schema, "REVISIONS", (*REVISIONS, failing))
    with pytest.raises(DatabaseError, match="already exists"):
        _open(url)
    monkeypatch.undo()
    assert _schema(url) == before
    _open(url)


def test_tables_without_a_version_are_not_touched(url: str) -> None:
    _execute(url, "CREATE TABLE calls (seq INTEGER)")
    before = _schema(url)
    with pytest.raises(DatabaseError, match="already exists"):
        _open(url)
    assert _schema(url) == before


def test_database_of_a_newer_version_stops_the_start_in_clear_words(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "records.db"
        async with opened(f"sqlite:///{path}", tmp_path):
            pass
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.close()
        store = a_store(f"sqlite:///{path}", tmp_path)
        with pytest.raises(ConfigError, match="another version"):
            await store.start()
        await store.close()

    run(story)


def test_sqlite_file_is_wal_and_for_its_owner_only(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "db" / "records.db"
        async with opened(f"sqlite:///{path}", tmp_path / "db") as store:
            store.write(record())
            await store.flush()
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
            assert modes.keys() >= {"records.db", "records.db-wal", "records.db-shm"}
            assert set(modes.values()) == {0o600}

    run(story)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://host/db", "found mysql"),
        ("nonsense", "expected a URL"),
        ("postgresql://u:p@host:port/db", "expected a URL"),
        ("sqlite://", "names a file"),
        ("sqlite:///:memory:", "names a file"),
    ],
)
def test_url_that_can_never_work_is_a_config_error(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_database_url(text)


@pytest.mark.parametrize(
    ("text", "dsn", "shown"),
    [
        ("postgresql://u:secret@db/records?sslmode=require", None, "postgresql://u:***@db/records?sslmode=require"),
        ("postgres://db:5433/r", "postgresql://db:5433/r", "postgresql://db:5433/r"),
        ("postgresql+asyncpg://u:se/c:r%40t@db/r?ssl=verify-full", "postgresql://u:se%2Fc%3Ar%40t@db/r?sslmode=verify-full", None),
        ("postgresql://u@one:1,two:2/r", "postgresql://u@one:1,two:2/r", "postgresql://u@one:1,two:2/r"),
        ("postgresql:///r?host=/run/pg&password=secret", None, "postgresql:///r?host=/run/pg&password=***"),
    ],
)
def test_url_of_libpq_is_understood_and_shown_without_its_password(text: str, dsn: str | None, shown: str | None) -> None:
    url = parse_database_url(text)
    assert url.dsn == (dsn or text) or dsn is None
    assert shown is None or url.shown == shown
    assert not {"secret", "se/c", "r%40t", "se%2Fc"} & set(url.shown.replace("@", ":").replace("=", ":").split(":"))
    assert repr(url) == url.shown


def test_database_behind_a_pooler_is_used_without_prepared_statements(postgres: Postgres, tmp_path: Path) -> None:
    url = f"{postgres.new_database('pooled')}?prepared_statement_cache_size=0"
    assert (parse_database_url(url).n_prepared, parse_database_url(url).dsn) == (0, url.partition("?")[0])

    async def story() -> None:
        async with opened(url, tmp_path) as store:
            store.write(record())
            assert await statuses(store) == [("s.1", "answered")]

    run(story)


def test_file_of_sqlite_is_named_by_a_relative_or_a_whole_path() -> None:
    assert parse_database_url("sqlite:///folder/records.db").path == Path("folder/records.db")
    assert parse_database_url("sqlite:////var/records.db").path == Path("/var/records.db")
    assert parse_database_url("sqlite+aiosqlite:///folder/r%20s.db?timeout=3").path == Path("folder/r%20s.db")


def test_times_of_any_zone_are_the_same_instant(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        east = START.astimezone(datetime.fromisoformat("2026-01-01T00:00+09:00").tzinfo)
        async with opened(url, tmp_path) as store:
            store.write(record("a", east))
            (item,) = (await store.list(RecordQuery(since=START, until=START + timedelta(microseconds=1)))).items
            assert datetime.fromisoformat(item["date"]).astimezone(UTC) == START

    run(story)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_file_that_is_deleted_or_replaced_in_use_loses_no_call_that_has_not_ended(tmp_path: Path, is_replaced: bool) -> None:
    """SQLite writes on into a deleted file without an error; the records would be gone with the process."""
    url, file = f"sqlite:///{tmp_path}/records.db", tmp_path / "records.db"

    async def story() -> None:
        troubles = Troubles()
        async with opened(url, tmp_path, troubles=troubles) as store:
            store.write(record("s.before"))
            store.begin(alive("s.open"))
            assert await statuses(store) == [("s.before", "answered")]
            for part in tmp_path.glob("records.db*"):
                part.unlink()
            if is_replaced:
                sqlite3.connect(file).close()
            store.write(record("s.open"))
            store.write(record("s.after"))
            async with asyncio.timeout(20):
                while len(await found(store)) < 2:
                    await asyncio.sleep(0.05)
            assert sorted(await statuses(store)) == [("s.after", "answered"), ("s.open", "answered")]
            assert not troubles.current()
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT count(*) FROM calls WHERE state = 'closed'").fetchone() == (2,)

    async def found(store: DatabaseRecords) -> list[tuple[str, str]]:
        with contextlib.suppress(RecordsUnavailable):
            return await statuses(store)
        return []

    run(story)


def test_connection_that_is_lost_in_a_transaction_is_an_error_that_callers_know(postgres: Postgres) -> None:
    url = parse_database_url(postgres.new_database("lost"))

    async def lose(database: Database, killer: asyncpg.Connection) -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO imports (source, finished_at) VALUES ('a', now())")
            await killer.execute(f"SELECT pg_terminate_backend({await connection.scalar('SELECT pg_backend_pid()')})")

    async def story() -> None:
        database, killer = Database(url), await asyncpg.connect(url.dsn)
        await database.open()
        with pytest.raises((DatabaseError, OSError)):
            await lose(database, killer)
        async with database.transaction() as connection:
            assert await connection.scalar("SELECT count(*) FROM imports") == 0
        await killer.close()
        await database.close()

    run(story)


def test_connection_that_is_lost_after_the_commit_is_no_error(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    url = parse_database_url(postgres.new_database("committed"))

    async def lost(connection: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def story() -> None:
        database = Database(url)
        await database.open()
        monkeypatch.setattr(asyncpg.Connection, "reset", lambda self, *, timeout=None: lost(self))
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO imports (source, finished_at) VALUES ('a', now())")
        monkeypatch.undo()
        async with database.transaction() as connection:
            assert await connection.scalar("SELECT count(*) FROM imports") == 1
        await database.close()

    run(story)
