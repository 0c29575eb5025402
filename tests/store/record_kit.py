"""Records as tests make them, and stores that are opened and closed around a story."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from active_call.base.world import World
from active_call.store.database.records import DatabaseRecords
from active_call.store.database.url import parse_database_url
from active_call.store.records import CallRecord, OpenCall, RecordQuery, TranscriptLine
from active_call.store.sinks import RecordDelivery
from active_call.store.troubles import Troubles

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


def alive(session_id: str = "s.1", start: datetime = START, **changes: Any) -> OpenCall:
    values: dict[str, Any] = {
        "session_id": session_id,
        "call_id": "abc@198.51.100.1",
        "direction": "inbound",
        "caller": "sip:+15551230001@example.com",
        "callee": "sip:+15551230002@example.com",
        "start_time": start,
    }
    return OpenCall(**{**values, **changes})


def a_store(url: str, folder: Path, sink: RecordDelivery | None = None, troubles: Troubles | None = None) -> DatabaseRecords:
    return DatabaseRecords(parse_database_url(url), folder, World(), troubles or Troubles(), sink=sink)


@asynccontextmanager
async def opened(
    url: str, folder: Path, sink: RecordDelivery | None = None, troubles: Troubles | None = None
) -> AsyncIterator[DatabaseRecords]:
    store = a_store(url, folder, sink, troubles)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def die(store: DatabaseRecords) -> None:
    """What SIGKILL leaves of a store: nothing is written, the lock goes, nobody says goodbye."""
    store._closing.set()
    if store._import_task is not None:
        await store._import_task
    for task in store._tasks:
        task.cancel()
    await asyncio.gather(*store._tasks, return_exceptions=True)
    await store._database.close()
    store._writer.journal.close()
    if store._slot is not None:
        store._slot.release()


async def statuses(store: DatabaseRecords) -> list[tuple[str, str]]:
    page = await store.list(RecordQuery(limit=1000))
    return sorted((item["id"], item["status"]) for item in page.items)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def body() -> None:
        await story()

    asyncio.run(body())


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.02)
