"""What becomes of calls whose server dies: closed once, as `crashed`, by whoever comes next, and never while their server lives."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from record_kit import START, a_store, alive, die, opened, record, run, statuses, until

from active_call.store.database.slots import take_slot
from active_call.store.local_records import LocalRecords
from active_call.store.records import RecordQuery


def test_calls_of_a_server_that_died_are_closed_as_crashed_by_the_next_start(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        store = a_store(url, tmp_path, LocalRecords(tmp_path))
        await store.start()
        for index in range(100):
            store.begin(alive(f"s.{index}"))
        store.update(alive("s.1", ring_time=START, answer_time=START + timedelta(seconds=2), playbook="sales.md"))
        store.write(record("s.2"))
        await store.flush()
        await die(store)
        async with opened(url, tmp_path, LocalRecords(tmp_path)) as store:
            found = dict(await statuses(store))
            assert len(found) == 100
            assert found.pop("s.2") == "answered"
            assert set(found.values()) == {"crashed"}
            whole = await store.get("s.1")
            assert whole is not None
            assert (whole["caller"], whole["playbook"], whole["hangupReason"]) == ("sip:+15551230001@example.com", "sales.md", "crashed")
            assert "'answered'" in whole["error"]
            assert whole["durationS"] > 0
            await store.flush()
            files = {path.stem: json.loads(path.read_bytes()) for path in tmp_path.rglob("*.json")}
            assert len(files) == 100
            assert files["s.1"]["status"] == "crashed"
        async with opened(url, tmp_path) as store:
            assert len(await statuses(store)) == 100

    run(story)


@pytest.mark.parametrize("is_flushed", [True, False])
def test_record_of_a_crashed_call_has_what_was_known_last(url: str, tmp_path: Path, is_flushed: bool) -> None:
    """Without a flush the last news is in shared memory only."""
    answer, path, name = START + timedelta(seconds=2), "/rec/s.1.wav", "x" * 1500

    async def story() -> None:
        store = a_store(url, tmp_path)
        await store.start()
        store.begin(alive("s.1"))
        await store.flush()
        store.update(alive("s.1", ring_time=START))
        store.update(alive("s.1", ring_time=START, answer_time=answer, callee=name if is_flushed else "b"))
        store.update(alive("s.1", ring_time=START, answer_time=answer, recording=path, callee=name if is_flushed else "b"))
        if is_flushed:
            await store.flush()
        await die(store)
        async with opened(url, tmp_path) as store:
            assert await statuses(store) == [("s.1", "crashed")]
            whole = await store.get("s.1")
            assert whole is not None
            assert (whole["answerTime"], whole["recording"]) == (answer.isoformat().replace("+00:00", "Z"), path)
            assert whole["callee"] == (name if is_flushed else "b")
            assert "'answered'" in whole["error"]

    run(story)


def test_call_that_begins_in_the_moment_of_the_kill_is_closed_once_too(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        store = a_store(url, tmp_path, LocalRecords(tmp_path))
        await store.start()
        store.begin(alive("s.0"))
        await store.flush()
        for index in range(1, 500):  # nothing awaits between: no batch is written
            store.begin(alive(f"s.{index}", START + timedelta(seconds=index), caller="x" * 1500 + "\ud800" if index == 7 else "a"))
        await die(store)
        async with opened(url, tmp_path, LocalRecords(tmp_path)) as store:
            found = await statuses(store)
            assert len(found) == 500
            assert {status for _, status in found} == {"crashed"}
            assert len({name for name, _ in found}) == len(found)
            assert ("s.7", "crashed") in found
        async with opened(url, tmp_path) as store:
            assert len(await statuses(store)) == len(found)

    run(story)


def test_server_beside_a_living_one_closes_none_of_its_calls(url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(url, tmp_path) as first:
            first.begin(alive("s.1"))
            await first.flush()
            async with opened(url, tmp_path) as second:
                assert await statuses(second) == []
                second.begin(alive("s.2"))
                await second.flush()
                assert await statuses(second) == []
            first.write(record("s.1"))
            assert ("s.1", "answered") in await statuses(first)

    run(story)


def test_server_of_another_machine_is_dead_when_it_has_not_been_seen_for_a_minute(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.new_database("lease")

    async def story() -> None:
        far = a_store(url, tmp_path / "far")
        await far.start()
        far.begin(alive("s.far"))
        await far.flush()
        async with opened(url, tmp_path / "near") as near:
            assert near._nodes is not None
            await near._nodes.close_calls_of_dead()
            assert await statuses(near) == []
            await die(far)
            await near._nodes.close_calls_of_dead()
            assert await statuses(near) == []  # it may be alive, and only its folder is not ours
            postgres.sql("UPDATE nodes SET seen_at = seen_at - interval '61 seconds'", "lease")
            await near._nodes.beat()
            await near._nodes.close_calls_of_dead()
            assert await statuses(near) == [("s.far", "crashed")]

    run(story)


def test_two_survivors_close_the_calls_of_the_dead_once(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.new_database("survivors")

    async def story() -> None:
        dead = a_store(url, tmp_path / "dead", LocalRecords(tmp_path / "dead"))
        await dead.start()
        for index in range(50):
            dead.begin(alive(f"s.{index}"))
        await dead.flush()
        await die(dead)
        async with (
            opened(url, tmp_path / "a", LocalRecords(tmp_path / "a")) as a,
            opened(url, tmp_path / "b", LocalRecords(tmp_path / "b")) as b,
        ):
            assert a._nodes is not None
            assert b._nodes is not None
            postgres.sql("UPDATE nodes SET seen_at = seen_at - interval '61 seconds' ", "survivors")
            await asyncio.gather(a._nodes.beat(), b._nodes.beat())
            closed = await asyncio.gather(a._nodes.close_calls_of_dead(), b._nodes.close_calls_of_dead())
            assert sorted(closed) == [0, 50]
            await asyncio.gather(a.flush(), b.flush())
            assert len(list(tmp_path.rglob("*.json"))) == 50
            assert len(await statuses(a)) == 50

    run(story)


def test_server_that_was_taken_for_dead_writes_its_own_record_in_the_end(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.new_database("zombie")

    async def story() -> None:
        async with opened(url, tmp_path / "slow") as slow:
            slow.begin(alive("s.1"))
            await slow.flush()
            postgres.sql("UPDATE nodes SET seen_at = seen_at - interval '61 seconds' ", "zombie")
            async with opened(url, tmp_path / "eager") as eager:
                assert await statuses(eager) == [("s.1", "crashed")]
                slow.write(record("s.1"))
                await slow.flush()
                assert await statuses(eager) == [("s.1", "answered")]

    run(story)


def test_slot_is_taken_by_one_server_and_free_when_it_is_gone(tmp_path: Path) -> None:
    first = take_slot(tmp_path, "aaaa")
    second = take_slot(tmp_path, "bbbb")
    assert first.path != second.path
    assert first.freed == (first.name,)
    second.release()
    third = take_slot(tmp_path, "cccc")
    assert third.name == second.name
    first.release()
    fourth = take_slot(tmp_path, "dddd")
    assert fourth.name == first.name
    third.release()
    fourth.release()


def test_slots_of_the_dead_stay_taken_until_their_calls_are_closed(tmp_path: Path) -> None:
    slots = [take_slot(tmp_path, str(n)) for n in range(3)]
    for slot in slots:
        slot.release()
    heir = take_slot(tmp_path, "x")
    assert len(heir.freed) == 3
    beside = take_slot(tmp_path, "y")
    assert beside.path.name == "node-3"
    heir.release_freed()
    after = take_slot(tmp_path, "z")
    assert after.path.name == "node-1"
    for slot in (heir, beside, after):
        slot.release()


def test_copied_folder_is_another_server(tmp_path: Path) -> None:
    slot = take_slot(tmp_path / "a", "token")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "node-0").write_bytes(slot.path.read_bytes())
    copy = take_slot(tmp_path / "b", "other")
    assert copy.name != slot.name
    slot.release()
    copy.release()


# -- the database is away


def test_records_wait_while_postgres_is_down_and_are_written_when_it_is_back(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.new_database("restart")

    async def story() -> None:
        troubles = _troubles()
        async with opened(url, tmp_path, troubles=troubles) as store:
            store.begin(alive("s.1"))
            await store.flush()
            await asyncio.to_thread(postgres.stop)
            try:
                store.write(record("s.1"))
                store.begin(alive("s.2"))
                await until(lambda: bool(troubles.current()))
                assert "records database" in troubles.current()[0]["reason"]
                assert list(tmp_path.glob("*.spool"))
            finally:
                await asyncio.to_thread(postgres.start)
            await until(lambda: not troubles.current(), 20)
            store.write(record("s.2"))
            assert await statuses(store) == [("s.1", "answered"), ("s.2", "answered")]
            await until(lambda: not list(tmp_path.glob("*.spool")))

    run(story)


def test_server_that_dies_without_its_database_loses_no_call(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.new_database("double")

    async def story() -> None:
        troubles = _troubles()
        store = a_store(url, tmp_path, troubles=troubles)
        await store.start()
        store.begin(alive("s.1"))
        store.begin(alive("s.2", START + timedelta(seconds=1)))
        await store.flush()
        await asyncio.to_thread(postgres.stop)
        try:
            store.write(record("s.1"))
            store.begin(alive("s.3", START + timedelta(seconds=2)))
            store.write(record("s.4", START + timedelta(seconds=3)))
            await until(lambda: bool(list(tmp_path.glob("*.spool"))))
            await die(store)
        finally:
            await asyncio.to_thread(postgres.start)
        async with opened(url, tmp_path) as store:
            assert await statuses(store) == [("s.1", "answered"), ("s.2", "crashed"), ("s.3", "crashed"), ("s.4", "answered")]
            assert not list(tmp_path.glob("*.spool"))

    run(story)


def test_server_that_starts_without_its_database_finishes_the_start_later(
    postgres,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.new_database("late")
    monkeypatch.setattr("active_call.store.database.records.BEAT_S", 0.1)

    async def story() -> None:
        troubles = _troubles()
        await asyncio.to_thread(postgres.stop)
        try:
            store = a_store(url, tmp_path, troubles=troubles)
            await store.start()
            store.begin(alive("s.1"))
            store.write(record("s.1"))
            assert troubles.current()
        finally:
            await asyncio.to_thread(postgres.start)
        await until(lambda: not troubles.current(), 20)
        assert await statuses(store) == [("s.1", "answered")]
        await store.close()

    run(story)


def test_database_that_does_not_exist_yet_is_used_when_it_does(postgres, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    url = postgres.url.replace("/postgres", "/not_here_yet")

    async def story() -> None:
        troubles = _troubles()
        async with opened(url, tmp_path, troubles=troubles) as store:
            store.begin(alive("s.1"))
            store.write(record("s.1"))
            await until(lambda: any("not_here_yet" in trouble["reason"] for trouble in troubles.current()))
            postgres.sql("CREATE DATABASE not_here_yet")
            await until(lambda: not troubles.current(), 20)
            assert await statuses(store) == [("s.1", "answered")]

    run(story)


def test_folder_that_cannot_be_written_leaves_a_server_that_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        (tmp_path / "cdr").write_text("a file where the folder is wanted")
        troubles = _troubles()
        store = a_store(f"sqlite:///{tmp_path / 'cdr' / 'records.db'}", tmp_path / "cdr", LocalRecords(tmp_path / "cdr"), troubles)
        await store.start()
        store.begin(alive())
        store.write(record())
        assert {trouble["part"] for trouble in troubles.current()} == {"records", "records folder"}
        await store.close()
        assert '"sessionId":"s.1"' in caplog.records[-1].__dict__.get("record", "") or any(
            '"sessionId":"s.1"' in str(vars(entry).get("record", "")) for entry in caplog.records
        )

    run(story)


def test_start_of_a_server_with_records_from_before_takes_them_over(tmp_path: Path) -> None:
    async def story() -> None:
        files = LocalRecords(tmp_path)
        for index in range(120):
            old = record(f"s.{index}", START + timedelta(hours=index))
            await files.deliver(old.id, old.start_time, old.to_json())
        await files.close()
        (tmp_path / "20260304" / "broken.json").write_text("{")
        (tmp_path / "20260304" / "index.jsonl").write_text("{}")
        url = f"sqlite:///{tmp_path}/records.db"
        async with opened(url, tmp_path) as store:
            await until(lambda: _has(store, 120))
            assert (await store.get("s.7")) is not None
        async with opened(url, tmp_path) as store:
            await asyncio.sleep(0.2)
            assert (await store.list(RecordQuery())).total == 120

    async def _has(store, n: int) -> bool:  # type: ignore[no-untyped-def]
        return bool((await store.list(RecordQuery())).total == n)

    run(story)


def _troubles():  # type: ignore[no-untyped-def]
    from active_call.store.troubles import Troubles

    return Troubles()
