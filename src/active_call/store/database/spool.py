"""A file with changes that the database has not accepted, because it is full, unreachable or read-only. It is emptied afterwards.

Open calls and records enter in order; a file of JSON lines leaves, and at the next start the contents of a dead process's file. Writing
happens in a thread and never raises.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from active_call.base.repair import encode_json
from active_call.store.call_record import CallRecord, OpenCall
from active_call.store.private_files import private_folder

MAX_BYTES: Final = 512 * 1024 * 1024
"""The largest size of a spool."""
SUFFIX: Final = ".spool"

_open_decoder = msgspec.json.Decoder(OpenCall)
_record_decoder = msgspec.json.Decoder(CallRecord)


class Spool:
    """The spool file of one process."""

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        self.path = path
        self._log = logger
        self._kept: set[int] = set()
        self._held: list[OpenCall | CallRecord] = []
        """The values in the file. They are referenced here, so that no other object gets the same identity."""
        self._size = 0

    async def keep(self, changes: Sequence[OpenCall | CallRecord]) -> bool:
        """Add values that are not in the file yet; False if they could not be written."""
        new = [change for change in changes if id(change) not in self._kept]
        if not new:
            return True
        if self._size > MAX_BYTES:
            return False
        try:
            self._size = await asyncio.to_thread(append_lines, self.path, [_line(change) for change in new])
        except OSError as error:
            self._log.warning("records cannot be spooled", extra={"path": str(self.path), "error": str(error)})
            return False
        self._held += new
        self._kept.update(map(id, new))
        return True

    async def empty(self) -> None:
        """Empty the file: the database has everything."""
        if not self._held:
            return
        self._held, self._kept, self._size = [], set(), 0
        try:
            await asyncio.to_thread(self.path.unlink, missing_ok=True)
        except OSError as error:
            self._log.warning("spool of records cannot be removed", extra={"path": str(self.path), "error": str(error)})


def append_lines(path: Path, lines: Sequence[bytes]) -> int:
    """Append whole lines permanently, or nothing; returns the file's size. Blocks. Raises OSError."""
    private_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before, data = os.fstat(descriptor).st_size, memoryview(b"".join(lines))
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_spool(path: Path, logger: logging.Logger) -> tuple[list[OpenCall], list[CallRecord]]:
    """The contents of a dead process's spool: open calls, and records. Unreadable lines are logged and skipped. Blocks."""
    alive: dict[str, OpenCall] = {}
    records: list[CallRecord] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        logger.warning("spool of records cannot be read", extra={"path": str(path), "error": str(error)})
        return [], []
    for line in lines:
        try:
            kind, body = line[:1], line[2:]
            if kind == b"r":
                records.append(_record_decoder.decode(body))
                alive.pop(records[-1].session_id, None)
            else:
                call = _open_decoder.decode(body)
                alive[call.session_id] = call
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("line of a spool of records is damaged", extra={"path": str(path), "error": str(error)})
    return list(alive.values()), records


def _line(change: OpenCall | CallRecord) -> bytes:
    if isinstance(change, CallRecord):
        return b"r " + change.to_json() + b"\n"
    return b"o " + encode_json(change) + b"\n"
