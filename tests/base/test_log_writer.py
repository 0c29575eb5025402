"""Who logs never waits; what is lost is counted and told."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from active_call.base.log_writer import FileSink, LogWriter, QueuedHandler


class SlowSink:
    """A disk that answers when it is let."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_open = threading.Event()
        self.is_entered = threading.Event()
        self.failures = 0

    def write(self, data: bytes) -> None:
        self.is_entered.set()
        self.is_open.wait(20)
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.written.append(data)

    def reopen(self) -> None:
        pass

    @property
    def lines(self) -> list[str]:
        return b"".join(self.written).decode().split("\n")[:-1]


def notice(n_lines: int, lasted_s: float) -> str:
    assert lasted_s >= 0
    return f"{n_lines} dropped"


def test_lines_come_in_order_and_all_of_them() -> None:
    sink = SlowSink()
    sink.is_open.set()
    writer = LogWriter(sink, notice)
    assert all(writer.put(str(index)) for index in range(5000))
    assert writer.close(10)
    assert sink.lines == [str(index) for index in range(5000)]


def test_full_queue_drops_at_once_and_tells_when_it_goes_on() -> None:
    sink = SlowSink()
    writer = LogWriter(sink, notice, max_lines=10)
    writer.put("first")
    assert sink.is_entered.wait(5)
    began = time.monotonic()
    kept = [writer.put(f"line {index}") for index in range(1000)]
    assert time.monotonic() - began < 1
    n_lost = kept.count(False)
    assert n_lost == writer.n_dropped == 990
    sink.is_open.set()
    assert writer.close(10)
    assert f"{n_lost} dropped" in sink.lines
    assert sink.lines.index(f"{n_lost} dropped") == 11, "behind what was kept"


def test_bytes_are_bounded_too() -> None:
    sink = SlowSink()
    writer = LogWriter(sink, notice, max_bytes=1000)
    writer.put("first")
    assert sink.is_entered.wait(5)
    assert sum(writer.put("x" * 300) for _ in range(50)) == 3
    sink.is_open.set()
    assert writer.close(10)


def test_full_disk_loses_lines_counts_them_and_goes_on() -> None:
    sink = SlowSink()
    sink.failures = 1
    sink.is_open.set()
    writer = LogWriter(sink, notice)
    writer.put("lost")
    deadline = time.monotonic() + 5
    while writer.n_dropped == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.put("kept")
    assert writer.close(10)
    assert sink.lines == ["1 dropped", "kept"] or sink.lines == ["kept", "1 dropped"]


def test_close_waits_for_a_bounded_time() -> None:
    sink = SlowSink()
    writer = LogWriter(sink, notice)
    writer.put("never")
    began = time.monotonic()
    assert not writer.close(0.2)
    assert time.monotonic() - began < 2
    assert not writer.put("late")
    sink.is_open.set()


def test_file_that_was_rotated_is_opened_anew_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(FileSink(path), notice)
    writer.put("one")
    deadline = time.monotonic() + 5
    while (not path.exists() or path.read_text() != "one\n") and time.monotonic() < deadline:
        time.sleep(0.01)
    path.rename(tmp_path / "log.1")
    writer.reopen()
    writer.put("two")
    assert writer.close(10)
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_record_that_cannot_be_formatted_is_told_and_raises_nothing(tmp_path: Path) -> None:
    class Broken(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise RuntimeError

    path = tmp_path / "log"
    handler = QueuedHandler(LogWriter(FileSink(path)))
    handler.setFormatter(Broken())
    handler.handle(logging.LogRecord("x", 20, "", 0, "m", None, None))
    handler.close()
    assert "cannot be written" in path.read_text()


def test_short_writes_lose_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    from active_call.base.log_writer import write_all

    data = os.urandom(300_000)
    got = bytearray()

    def read() -> None:
        while piece := os.read(reading, 65536):
            got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    write_all(writing, data)
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert bytes(got) == data
