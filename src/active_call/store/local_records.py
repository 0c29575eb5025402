"""Call records as files: `root/YYYYMMDD/<session id>.json`, the day in UTC, and beside them `index.jsonl`, one line a call.

In: records. Out: files that are either complete or absent; lists and single records for the API. The index only saves reading: a record
that is missing in it (a crash between the two writes, a file copied in) is found when the day is listed. Writing is done by one
thread of its own; `list` and `get` block and may be called from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from active_call.base.errors import ParseError
from active_call.store.call_record import CallRecord, RecordSummary, day_of, parse_record, parse_summary
from active_call.store.names import safe_name

INDEX_NAME = "index.jsonl"
MAX_CACHED_DAYS = 31


class LocalRecords:
    """Records in a folder of this machine. Writing never raises: a full disk is logged together with the record itself."""

    def __init__(self, root: Path, *, logger: logging.Logger | None = None) -> None:
        self._root = root
        self._log = logger or logging.getLogger("active_call.records")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._lock = threading.Lock()
        self._days: dict[str, Sequence[RecordSummary]] = {}

    async def write(self, record: CallRecord) -> None:
        """Store one record; returns when it is on disk. Once begun it is finished, even if the caller is cancelled."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._write, record))

    async def close(self) -> None:
        """Finish what is being written and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)

    def list(self, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """The short form of calls, the newest first, as plain JSON values. Blocks."""
        first, wanted = max(offset, 0), max(offset, 0) + max(limit, 0)
        found: list[RecordSummary] = []
        with self._lock:
            for day in self._day_names():
                if len(found) >= wanted:
                    break
                found.extend(self._day(day))
        return [msgspec.to_builtins(summary) for summary in found[first:wanted]]

    def get(self, session_id: str) -> dict[str, Any] | None:
        """The record of one call as plain JSON values, or None when there is none of that id that can be read. Blocks."""
        name = f"{safe_name(session_id)}.json"
        for day in self._day_names():
            try:
                record = msgspec.json.decode((self._root / day / name).read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, msgspec.MsgspecError) as error:
                self._log.warning("call record cannot be read", extra={"session_id": session_id, "error": str(error)})
                return None
            if isinstance(record, dict) and record.get("sessionId") == session_id:
                return record
        return None

    # -- on disk

    def _write(self, record: CallRecord) -> None:
        try:
            self._store(record)
        except OSError as error:
            fields = {"session_id": record.session_id, "error": str(error), "record": record.to_json().decode()}
            self._log.error("call record could not be written", extra=fields)

    def _store(self, record: CallRecord) -> None:
        summary = record.summary()
        day = day_of(record.start_time)
        folder = self._root / day
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            replace_file(folder / f"{safe_name(record.session_id)}.json", record.to_json())
            if day in self._days:
                kept = [known for known in self._days[day] if known.id != summary.id]
                self._days[day] = sorted([*kept, summary], key=_age, reverse=True)
            with (folder / INDEX_NAME).open("ab") as index:
                index.write(msgspec.json.encode(summary) + b"\n")

    def _day_names(self) -> Sequence[str]:
        try:
            return sorted((path.name for path in self._root.iterdir() if len(path.name) == 8 and path.name.isdigit()), reverse=True)
        except OSError:
            return []

    def _day(self, day: str) -> Sequence[RecordSummary]:
        """The calls of a day, the newest first; read once and kept."""
        if day not in self._days:
            while len(self._days) >= MAX_CACHED_DAYS:
                del self._days[min(self._days)]
            self._days[day] = self._read_day(self._root / day)
        return self._days[day]

    def _read_day(self, folder: Path) -> Sequence[RecordSummary]:
        known = {safe_name(summary.id): summary for summary in self._read_index(folder / INDEX_NAME)}
        stems = {path.stem for path in folder.glob("*.json")}
        for stem in stems - known.keys():
            try:
                known[stem] = parse_record((folder / f"{stem}.json").read_bytes()).summary()
            except (OSError, ParseError) as error:
                self._log.warning("call record cannot be read", extra={"path": str(folder / stem), "error": str(error)})
        return sorted((summary for stem, summary in known.items() if stem in stems), key=_age, reverse=True)

    def _read_index(self, path: Path) -> Sequence[RecordSummary]:
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            return []
        summaries = []
        for line in lines:
            try:
                summaries.append(parse_summary(line))
            except ParseError:
                self._log.warning("line of the record index is damaged", extra={"path": str(path)})
        return summaries


def _age(summary: RecordSummary) -> tuple[float, str]:
    """What orders calls: when they began, then their id."""
    return summary.date.timestamp(), summary.id


def replace_file(path: Path, data: bytes) -> None:
    """Write `path` so that it holds all of `data` or what it held before. Only the owner may read it."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
