"""Imports records from a folder of JSON files into the database: once, in the background, in chunks.

A folder enters; rows leave. A file whose record is in the database already is skipped, so an interrupted import can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from active_call.base.errors import ParseError
from active_call.base.world import World
from active_call.store.call_record import CallRecord, parse_record
from active_call.store.database import rows
from active_call.store.database.connection import Database
from active_call.store.database.statements import insert_into, one_of
from active_call.store.local_records import record_files

CHUNK: Final = 50
PAUSE_S: Final = 0.1
"""The pause between chunks: 500 records a second, so that calls are not slowed down."""
MAX_RECORDS: Final = 200_000
"""How many are imported, the newest first; older files stay where they are."""
MAX_FILE_BYTES: Final = 16 * 1024 * 1024


async def import_folder(
    database: Database, folder: Path, node: str, world: World, logger: logging.Logger, is_stopping: Callable[[], bool]
) -> int:
    """Import the records of `folder` unless that was done before; returns their number. Raises DatabaseError and OSError.

    Ends early if `is_stopping` returns True; the next start repeats it.
    """
    source = str(await asyncio.to_thread(folder.resolve))
    async with database.transaction() as connection:
        if await connection.scalar("SELECT source FROM imports WHERE source = :source", {"source": source}) is not None:
            return 0
    files, n_imported = islice(record_files(folder), MAX_RECORDS), 0
    while records := await asyncio.to_thread(_read, files, logger):
        n_imported += await _insert(database, [record for record in records if record is not None], node)
        if is_stopping():
            return n_imported
        await asyncio.sleep(PAUSE_S)
    async with database.transaction() as connection:
        values = {"source": source, "finished_at": world.clock.utc_now()}
        await connection.execute("DELETE FROM imports WHERE source = :source", values)
        await connection.execute(insert_into("imports", values), values)
    if n_imported:
        logger.info("records of a folder were taken over into the database", extra={"folder": source, "n_records": n_imported})
    return n_imported


async def _insert(database: Database, records: Sequence[CallRecord], node: str) -> int:
    by_id = {rows.row_id(record.id): record for record in records}
    condition, values = one_of("id", by_id)
    async with database.transaction() as connection:
        known = {row["id"] for row in await connection.fetch(f"SELECT id FROM calls WHERE {condition}", values)}
    new: list[dict[str, Any]] = [
        {"id": key, "node": node, **rows.closed_columns(rows.with_id(record, key))} for key, record in by_id.items() if key not in known
    ]
    if new:
        async with database.transaction() as connection:
            await connection.execute_many(rows.INSERT_CALL, new)
    return len(new)


def _read(files: Iterator[Path], logger: logging.Logger) -> list[CallRecord | None]:
    """The next records; None for files without one. Empty at the end. Blocks."""
    found: list[CallRecord | None] = []
    for path in islice(files, CHUNK):
        try:
            record = parse_record(path.read_bytes()) if path.stat().st_size <= MAX_FILE_BYTES else None
        except (OSError, ParseError) as error:
            logger.warning("call record cannot be read", extra={"path": str(path), "error": str(error)})
            record = None
        found.append(record)
    return found
