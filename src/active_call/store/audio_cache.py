"""Decoded sound on disk: one file for each source and rate, limited in bytes; the least recently used is removed first.

A key (the sound's identity) and s16le mono PCM enter; open files leave. Every method may block and belongs in a thread. Knows no network
and no decoder.

A file is a header of `DATA_OFFSET` bytes (a line of JSON, padded) and the samples. It is written under a unique name and renamed when
complete, so that readers and any number of writers, of this server or of others with the same folder, never see a partial file. Files left
by a killed writer are removed later. A reader's open file stays valid even if the name is removed. The file's modification time is its last
use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from msgspec import Struct

from active_call.store.private_files import create_private, private_folder

DATA_OFFSET: Final = 4096
DEFAULT_LIMIT_BYTES: Final = 1024 * 1024 * 1024
"""18 hours at 8 kHz."""
ABANDONED_AFTER_S: Final = 3600.0
"""A part file that was not written to for this long has lost its writer."""

_FORMAT: Final = "active-call sound 1"


class CachedSound(Struct, frozen=True):
    """An open file of the cache. Samples begin at `DATA_OFFSET`; `facts` is what was stored with it. The owner closes `file`."""

    file: BinaryIO
    path: Path
    n_bytes: int
    facts: Mapping[str, Any]


class PartFile:
    """A sound being written. `append`, then `keep` or `discard`; neither is needed if the process dies."""

    def __init__(self, cache: AudioCache, key: str, file: BinaryIO, path: Path | None) -> None:
        self.file = file
        self.n_bytes = 0
        self._cache = cache
        self._key = key
        self._path = path
        file.write(bytes(DATA_OFFSET))

    def append(self, pcm: bytes) -> None:
        """Raises OSError if the disk is full."""
        view = memoryview(pcm)
        while view:
            view = view[self.file.write(view) :]
        self.n_bytes += len(pcm)

    def keep(self, facts: Mapping[str, Any]) -> bool:
        """The sound is complete: publish it under its key. Returns False, and does nothing, if the folder is not writable."""
        if self._path is None:
            return False
        os.pwrite(self.file.fileno(), _header(self._key, self.n_bytes, facts), 0)
        os.fsync(self.file.fileno())
        self._path.replace(self._cache.path_of(self._key))
        self._path = None
        self._cache.shrink()
        return True

    def discard(self) -> None:
        """Remove the name, if it still exists; readers of the file can continue."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


class AudioCache:
    """A folder of sounds. Several threads and processes may use it at the same time."""

    def __init__(self, folder: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def path_of(self, key: str) -> Path:
        """The path of the sound of `key`."""
        return self._folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}.pcm"

    def open(self, key: str) -> CachedSound | None:
        """The sound of `key`, marked as used; None if it is missing or incomplete."""
        path = self.path_of(key)
        try:
            file = path.open("rb")
        except OSError:
            return None
        facts = _read_header(file, key)
        if facts is None:
            file.close()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return CachedSound(file, path, int(facts["bytes"]), facts["facts"])

    def begin(self, key: str) -> PartFile:
        """A new file for `key`. If the folder is not writable, an unnamed file, so that the sound can still be played."""
        path = self._folder / f".{secrets.token_hex(8)}.part"
        try:
            private_folder(self._folder)
            return PartFile(self, key, create_private(path), path)
        except OSError:
            return PartFile(self, key, tempfile.TemporaryFile(buffering=0), None)

    def remove(self, key: str) -> None:
        self.path_of(key).unlink(missing_ok=True)

    def shrink(self) -> None:
        """Remove the least recently used files until the rest fits, and the files that killed writers left."""
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.suffix == ".part" and now - status.st_mtime > ABANDONED_AFTER_S:
                    path.unlink()
                elif path.suffix == ".pcm":
                    kept.append((status.st_mtime, status.st_size, path))
        n_bytes = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if n_bytes <= self._limit_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            n_bytes -= size


def _header(key: str, n_bytes: int, facts: Mapping[str, Any]) -> bytes:
    said = {"format": _FORMAT, "key": key, "bytes": n_bytes, "facts": dict(facts)}
    line = json.dumps(said, ensure_ascii=True).encode()
    if len(line) >= DATA_OFFSET:  # a very long URL: the file's name, which is a hash of it, must do
        line = json.dumps({**said, "key": None}, ensure_ascii=True).encode()
    return line.ljust(DATA_OFFSET - 1) + b"\n"


def _read_header(file: BinaryIO, key: str) -> dict[str, Any] | None:
    try:
        said = json.loads(file.read(DATA_OFFSET))
        whole = os.fstat(file.fileno()).st_size == DATA_OFFSET + said["bytes"]
        fits = said["format"] == _FORMAT and said["key"] in (key, None) and isinstance(said["facts"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if whole and fits else None
