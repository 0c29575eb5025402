"""Writes log lines in its own thread, so that a caller never waits for a full pipe or a slow disk.

Lines enter by `put`, from any thread, and never block: lines that find the queue full are counted and dropped. A notice with their number
is written later. `close` writes the rest, for a bounded time. Knows nothing of the lines' content.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

from msgspec import Struct

MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
BATCH_BYTES = 4096
"""PIPE_BUF of Linux: a write up to this size to a pipe is atomic, so lines of different processes do not mix."""
RETRY_S = 0.5
"""The pause after a failed write."""
ROTATION_CHECK_S = 1.0
CLOSE_TIMEOUT_S = 2.0


class Sink(Protocol):
    """The destination of bytes. Used by the writer's thread only; may block, and may raise OSError."""

    def write(self, data: bytes) -> None: ...

    def reopen(self) -> None: ...


class DescriptorSink:
    """An open descriptor: standard error, or standard output."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        write_all(self._descriptor, data)

    def reopen(self) -> None:
        """Does nothing: a descriptor is not reopened."""


class FileSink:
    """A file in append mode. If it was moved or removed (logrotate), it is opened again, readable for its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._checked_at = 0.0

    def write(self, data: bytes) -> None:
        now = time.monotonic()
        if self._descriptor >= 0 and now - self._checked_at > ROTATION_CHECK_S:
            self._checked_at = now
            if not self._is_current():
                self.reopen()
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._checked_at = now
        write_all(self._descriptor, data)

    def reopen(self) -> None:
        """The next write opens the path."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_current(self) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; waits for a non-blocking descriptor."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


class _Entry(Struct, frozen=True):
    """A line to write. If a notice about `n_told` dropped lines is lost, these are reported again."""

    data: bytes
    n_told: int = 0


class LogWriter:
    """See the module. `notice(n_lines, seconds)` returns the line that reports dropped lines; without it they are not reported."""

    def __init__(
        self,
        sink: Sink,
        notice: Callable[[int, float], str] | None = None,
        *,
        max_lines: int = MAX_LINES,
        max_bytes: int = MAX_BYTES,
        name: str = "log",
    ) -> None:
        self.n_dropped = 0
        """Lines lost so far."""
        self._sink = sink
        self._notice = notice
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._changed = threading.Condition()
        self._entries: deque[_Entry] = deque()
        self._n_bytes = 0
        self._n_untold = 0
        self._dropping_since: float | None = None
        self._next_sink: Sink | None = None
        self._is_reopened = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, line: str) -> bool:
        """Queue `line` with a line end; False if it was dropped. Never blocks."""
        return self.put_bytes(line.encode("utf-8", "backslashreplace") + b"\n")

    def put_bytes(self, data: bytes) -> bool:
        """Queue `data` unchanged; False if it was dropped. Never blocks."""
        with self._changed:
            if self._is_full(len(data)):
                self._drop(1)
                return False
            if self._n_untold:
                self._report_dropped()
            self._append(_Entry(data))
            self._changed.notify()
            return True

    def replace_sink(self, sink: Sink) -> None:
        """Write to `sink` from the next line on."""
        with self._changed:
            self._next_sink = sink
            self._changed.notify()

    def reopen(self) -> None:
        """Open the file again after a rotation."""
        with self._changed:
            self._is_reopened = True
            self._changed.notify()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Write the rest within `timeout_s`; returns whether all was written. Later lines are dropped."""
        with self._changed:
            if self._is_closing:
                return not self._thread.is_alive()
            self._is_closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- queue, under the lock

    def _is_full(self, n_bytes: int) -> bool:
        if self._is_closing:
            return True
        if self._dropping_since is not None and len(self._entries) > self._max_lines // 2:
            return True  # so that one notice reports many lines
        return len(self._entries) >= self._max_lines or self._n_bytes + n_bytes > self._max_bytes

    def _drop(self, n_lines: int) -> None:
        self.n_dropped += n_lines
        self._n_untold += n_lines
        if self._dropping_since is None:
            self._dropping_since = time.monotonic()

    def _append(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._n_bytes += len(entry.data)

    def _report_dropped(self) -> None:
        if self._notice is not None:
            lasted_s = time.monotonic() - self._dropping_since if self._dropping_since is not None else 0.0
            line = self._notice(self._n_untold, lasted_s)
            self._append(_Entry(line.encode("utf-8", "backslashreplace") + b"\n", self._n_untold))
        self._n_untold, self._dropping_since = 0, None

    # -- the thread

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._apply_requests()
                self._sink.write(b"".join(entry.data for entry in batch))
            except OSError:
                with self._changed:
                    self._drop(sum(not entry.n_told for entry in batch))
                    self._n_untold += sum(entry.n_told for entry in batch)
                    if self._is_closing:
                        return
                    self._changed.wait_for(lambda: self._is_closing, RETRY_S)

    def _next_batch(self) -> list[_Entry]:
        """Whole lines, at most `BATCH_BYTES` unless one line is longer; empty when all is written and no more will come."""
        with self._changed:
            while not self._entries:
                if self._n_untold and self._notice is not None:
                    self._report_dropped()
                elif self._is_closing:
                    return []
                else:
                    self._changed.wait()
            batch = [self._entries.popleft()]
            size = len(batch[0].data)
            while self._entries and size + len(self._entries[0].data) <= BATCH_BYTES:
                batch.append(self._entries.popleft())
                size += len(batch[-1].data)
            self._n_bytes -= size
            return batch

    def _apply_requests(self) -> None:
        """Apply requests to the sink outside the lock, because they may block."""
        with self._changed:
            is_reopened, next_sink = self._is_reopened, self._next_sink
            self._is_reopened, self._next_sink = False, None
        if is_reopened or next_sink is not None:
            with contextlib.suppress(OSError):
                self._sink.reopen()
        self._sink = next_sink or self._sink


class QueuedHandler(logging.Handler):
    """Sends formatted records to a writer. A record that cannot be formatted is reported in a few words. Nothing is ever printed."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 (a wall: logging must not end what logs)
            line = f"a log record of {record.name!r} cannot be written: {type(error).__name__}"
        self.writer.put(line)

    def close(self) -> None:
        self.writer.close()
        super().close()


class QueuedText(io.TextIOBase):
    """A text file whose writes go to a writer, for a console that must not wait for its reader either."""

    def __init__(self, writer: LogWriter, real: TextIO) -> None:
        self._writer = writer
        self._real = real

    def write(self, text: str) -> int:
        self._writer.put_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def isatty(self) -> bool:
        return self._real.isatty()

    def fileno(self) -> int:
        return self._real.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"
