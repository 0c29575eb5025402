"""Calls that have begun and are not in the database yet, kept in shared memory, so that they survive a killed process.

An open call enters and gets a cell of a file in memory that outlives the process. The cell is freed when the database or the spool has the
call. The next start reads the cells in use. Writing takes some microseconds and no disk access, so the loop does it. A file has `N_CELLS`
cells of `CELL_BYTES`: one byte for "in use", two for the length, then JSON.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from pathlib import Path
from typing import Final

import msgspec

from active_call.base.repair import encode_json
from active_call.store.call_record import OpenCall

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (our own file in it, opened with care)
N_CELLS: Final = 512
CELL_BYTES: Final = 2048
MAX_TEXT: Final = 200
"""Characters of each field in a cell; the database gets the full text a moment later."""
_HEAD: Final = 3
_decoder = msgspec.json.Decoder(OpenCall)


class Journal:
    """The cells of one slot. Without shared memory it does nothing."""

    def __init__(self, memory: mmap.mmap | None) -> None:
        self._memory = memory
        self._free = list(range(N_CELLS)) if memory is not None else []

    def note(self, call: OpenCall) -> int | None:
        """Write a call; returns its cell, None if there is no room."""
        if self._memory is None or not self._free:
            return None
        data = encode_json(call)
        if len(data) > CELL_BYTES - _HEAD:
            short = {name: value[:MAX_TEXT] for name, value in msgspec.structs.asdict(call).items() if isinstance(value, str)}
            data = encode_json(msgspec.structs.replace(call, **short))
            if len(data) > CELL_BYTES - _HEAD:
                return None
        cell = self._free.pop()
        start = cell * CELL_BYTES
        self._memory[start + 1 : start + _HEAD + len(data)] = len(data).to_bytes(2, "big") + data
        self._memory[start] = 1
        return cell

    def give_back(self, cell: int) -> None:
        """Free the cell: the database or the spool has the call."""
        if self._memory is not None:
            self._memory[cell * CELL_BYTES] = 0
            self._free.append(cell)

    def close(self) -> None:
        """Unmap the memory; its contents stay."""
        if self._memory is not None:
            self._memory.close()
            self._memory, self._free = None, []


def open_journal(slot: str, logger: logging.Logger) -> tuple[Journal, list[OpenCall]]:
    """The journal of our slot, emptied, and the calls that its last owner left in it. Blocks."""
    try:
        descriptor = _open(_path(slot))
    except OSError as error:
        logger.info("no shared memory for calls that begin", extra={"error": str(error)})
        return Journal(None), []
    try:
        memory = mmap.mmap(descriptor, N_CELLS * CELL_BYTES)
    finally:
        os.close(descriptor)
    left = _read(memory)
    for cell in range(N_CELLS):
        memory[cell * CELL_BYTES] = 0
    return Journal(memory), left


def remove_journal(slot: str) -> None:
    """Remove the journal of an owner that has shut down normally, whose calls are all in the database. Blocks."""
    _path(slot).unlink(missing_ok=True)


def _path(slot: str) -> Path:
    return SHARED_MEMORY / f"active-call-{os.geteuid()}-{hashlib.sha256(slot.encode()).hexdigest()[:24]}"


def _open(path: Path) -> int:
    """Opens only our own file. Its memory is allocated now, because a page that is missing later would kill the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, N_CELLS * CELL_BYTES)
        os.posix_fallocate(descriptor, 0, N_CELLS * CELL_BYTES)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(memory: mmap.mmap) -> list[OpenCall]:
    calls: list[OpenCall] = []
    for start in range(0, N_CELLS * CELL_BYTES, CELL_BYTES):
        if memory[start] != 1:
            continue
        length = int.from_bytes(memory[start + 1 : start + _HEAD], "big")
        try:
            calls.append(_decoder.decode(memory[start + _HEAD : start + _HEAD + length]))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # the byte is set last, so a half-written cell is never marked: this is another program's file
    return calls
