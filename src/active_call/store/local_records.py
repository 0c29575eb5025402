"""Call records as JSON files: `root/YYYYMMDD/<record id>.json`, the day in UTC.

Records as JSON enter; files leave that are either complete or absent, mode 0600. It also lists the existing files for the import into the
database. Writing is done by one thread of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from active_call.store.call_record import day_of
from active_call.store.names import safe_name
from active_call.store.private_files import private_folder
from active_call.store.sinks import ClosedRecord, SinkBusy


class LocalRecords:
    """Records in a folder of this machine."""

    gives_up = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        """Write one file; returns when it is on disk. A started write finishes even if the caller is cancelled. Raises SinkBusy."""
        _, busy = await self.deliver_all([ClosedRecord(record_id, started_at, body)])
        if busy is not None:
            raise busy

    async def deliver_all(self, records: Sequence[ClosedRecord]) -> tuple[int, SinkBusy | None]:
        """See `sinks.DeliversTogether`. The files are written in one go: waking the thread costs as much as a file."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._write_all, records))

    async def close(self) -> None:
        """Finish the current writing and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)

    def _write_all(self, records: Sequence[ClosedRecord]) -> tuple[int, SinkBusy | None]:
        folders = set[Path]()
        for n_written, record in enumerate(records):
            path = self.root / day_of(record.started_at) / f"{safe_name(record.record_id)}.json"
            try:
                if path.parent not in folders:
                    private_folder(path.parent)
                    folders.add(path.parent)
                replace_file(path, record.body)
            except OSError as error:
                return n_written, SinkBusy(f"{path}: {error.strerror or error}")
        return len(records), None


def record_files(root: Path) -> Iterator[Path]:
    """The record files in `root`, the newest days first. Blocks."""
    try:
        days = sorted((path for path in root.iterdir() if len(path.name) == 8 and path.name.isdigit()), reverse=True)
    except OSError:
        return
    for day in days:
        yield from sorted(day.glob("*.json"))


def replace_file(path: Path, data: bytes) -> None:
    """Write `path` so that it holds either all of `data` or its earlier content. Only the owner may read it."""
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
