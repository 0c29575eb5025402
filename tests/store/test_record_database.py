"""Records in SQLite and in PostgreSQL: begun, changed, closed, found again."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parent))

from record_kit import START, a_store, alive, opened, record, run, statuses

from active_call.base.errors import ConfigError
from active_call.store.database.connection import parse_database_url
from active_call.store.database.records import DatabaseRecords
from active_call.store.database.schema import MIGRATIONS, bring_up_to_date, migrate
from active_call.store.database.tables import HEAD_REVISION, metadata
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


def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = sa.create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as connection:
        migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        migrated = _schema(connection)
    fresh = sa.create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    with fresh.begin() as connection:
        bring_up_to_date(connection)
        assert _schema(connection) == migrated
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD_REVISION
        migrate(connection)  # has nothing to do
        assert _schema(connection) == migrated
    engine.dispose()
    fresh.dispose()


def _schema(connection: sa.Connection) -> dict[str, object]:
    """Tables with columns, keys and indexes, as the database describes them."""
    inspector = sa.inspect(connection)
    return {
        name: (
            [{**column, "type": str(column["type"])} for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            inspector.get_unique_constraints(name),
            sorted(inspector.get_indexes(name), key=str),
        )
        for name in sorted(inspector.get_table_names())
    }


def test_new_database_and_one_of_this_version_need_no_alembic(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from active_call.store.database.connection import Database, parse_database_url
async def main():
    for _ in range(2):
        database = Database(parse_database_url("sqlite:///{tmp_path / "records.db"}"))
        await database.open()
        await database.close()
asyncio.run(main())
sys.exit(bool({{"alembic", "sqlalchemy.orm", "sqlalchemy.ext.asyncio"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_tables_without_a_version_are_migrated(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'records.db'}")
    with engine.begin() as connection:
        metadata.tables["calls"].create(connection)
        with pytest.raises(sa.exc.OperationalError, match="already exists"):  # which Alembic says, and not we over its head
            bring_up_to_date(connection)
    engine.dispose()


def test_head_revision_is_the_newest_script() -> None:
    scripts = sorted(path.stem for path in (MIGRATIONS / "versions").glob("revision_*.py"))
    assert scripts[-1].split("_")[1] == HEAD_REVISION


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
        ("sqlite://", "names a file"),
        ("sqlite:///:memory:", "names a file"),
    ],
)
def test_url_that_can_never_work_is_a_config_error(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_database_url(text)


def test_url_of_libpq_is_understood() -> None:
    url = parse_database_url("postgresql://u:secret@db/records?sslmode=require")
    assert (url.drivername, dict(url.query)) == ("postgresql+asyncpg", {"ssl": "require"})


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
