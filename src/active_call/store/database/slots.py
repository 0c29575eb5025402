"""Detects dead servers by locks: each server holds a lock on a file in its folder, and the kernel releases it when the process ends.

A folder enters; our own slot leaves, with the names of slots whose processes are gone. Several servers may share a folder: each takes the
first free slot. The name of a slot is created once and kept in its file; it contains host and inode, so that a copied folder has other
slots.
"""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from active_call.store.private_files import private_folder

MAX_SLOTS: Final = 64
PREFIX: Final = "node-"


@dataclass(slots=True)
class Slot:
    """Our place in the folder, and the names and paths of the slots without a process, including ours.

    We hold all of them until `release_freed`, so that no server takes one whose calls are not closed yet.
    """

    name: str
    path: Path
    freed: tuple[str, ...]
    freed_paths: tuple[Path, ...]
    _own: int
    _others: list[int]

    def release_freed(self) -> None:
        """Release the slots of dead servers after their calls were closed."""
        while self._others:
            os.close(self._others.pop())

    def release(self) -> None:
        """Release all slots. May be called again."""
        self.release_freed()
        if self._own >= 0:
            os.close(self._own)
            self._own = -1


def take_slot(folder: Path, token: str) -> Slot:
    """Take the first free slot of `folder`; `token` names a new slot. Blocks. Raises OSError."""
    private_folder(folder)
    freed: list[tuple[str, Path, int]] = []
    for number in range(MAX_SLOTS):
        path = folder / f"{PREFIX}{number}"
        if freed and not path.exists():
            break
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        name = _locked_name(descriptor, token)
        if name is None:
            os.close(descriptor)
            continue
        freed.append((name, path, descriptor))
    if not freed:
        raise OSError(f"{MAX_SLOTS} servers already write records to {folder}")
    names, paths, descriptors = zip(*freed, strict=True)
    return Slot(names[0], paths[0], names, paths, descriptors[0], list(descriptors[1:]))


def _locked_name(descriptor: int, token: str) -> str | None:
    """The slot's name if no process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    kept = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
    if not kept:
        kept = token
        os.pwrite(descriptor, f"{token}\n".encode(), 0)
    return f"{kept}@{socket.gethostname()}:{os.fstat(descriptor).st_ino}"
