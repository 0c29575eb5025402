"""The log's destination and format: text lines (`base.log_lines`) or one JSON object in each line.

The log is written by a thread (`base.log_writer`): neither an unread standard error nor a hanging disk stops the server. While `LogOutput`
is open, everything that this process and its children write to standard error passes through a pipe that is always read, and becomes log
records. So children, C libraries and tracebacks of the interpreter never block either, and cannot forge a log line.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from active_call.base.child_log import HANDS_OVER_RECORDS
from active_call.base.errors import ConfigError
from active_call.base.log_lines import (
    RECORD_MARK,
    PlainFormatter,
    message_of,
    read_record,
    shown_fields,
    text_of,
    traceback_of,
    without_numbers,
)
from active_call.base.log_writer import DescriptorSink, FileSink, LogWriter, QueuedHandler, Sink

if TYPE_CHECKING:
    from active_call.server.config.config import Config

LEVELS = {"trace": logging.DEBUG, "warn": logging.WARNING}
MAX_STRAY_LINE_BYTES = 4096
MAX_STRAY_LINES = 500
"""Lines a second on standard error that are no records, such as those of a library in a loop. Further ones are counted: 100,000 of them a
second would fill a disk in an hour. A traceback has some fifty.
"""
_NOISY = (
    "httpx", "httpcore", "httpx2", "httpcore2", "websockets", "mcp", "aioice", "openai", "livekit", "opentelemetry", "sse_starlette",
    "asyncio", "asyncpg", "uvicorn.error",
)  # fmt: skip
"""Libraries that write URLs at INFO, and headers and messages at DEBUG: tokens, keys, what callers say. Only their warnings are logged."""
_STDERR = 2
_RECORD_MARK = RECORD_MARK.encode()

stray_log = logging.getLogger("active_call.stderr")


class JsonFormatter(logging.Formatter):
    """One JSON object in each line, in ASCII. The record's own data are `at`, `level`, `room`, `message`; a field with such a name gets a
    `_`.
    """

    def __init__(self, *, personal: bool = True) -> None:
        super().__init__()
        self._personal = personal

    def format(self, record: logging.LogRecord) -> str:
        message, traceback = message_of(record), traceback_of(record)
        if not self._personal:
            message, traceback = without_numbers(message), [without_numbers(one) for one in traceback]
        obj: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "room": record.name,
            "message": message,
        }
        for key, value in shown_fields(record, personal=self._personal).items():
            obj[f"{key}_" if key in obj or key == "exception" else key] = value
        if traceback:
            obj["exception"] = "\n".join(traceback)
        try:
            return json.dumps(obj, default=text_of, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            return json.dumps({key: value if isinstance(value, str) else text_of(value) for key, value in obj.items()}, skipkeys=True)


class LogSettings(Struct, frozen=True):
    """The log settings of the config file."""

    level: str = "info"
    file: str | None = None
    as_json: bool = False
    personal: bool = True

    @property
    def formatter(self) -> logging.Formatter:
        """The formatter of records."""
        return JsonFormatter(personal=self.personal) if self.as_json else PlainFormatter(personal=self.personal)


def set_up_logging(level: str = "info", file: str | None = None, *, as_json: bool = False, personal: bool = True) -> None:
    """Log to standard error, or to `file`, which may be rotated externally. Raises ConfigError if the file cannot be written."""
    settings = LogSettings(level, file, as_json, personal)
    _install(settings, LogWriter(_sink(settings, _STDERR), _notice_of(settings)))


def settings_of(config: Config, level: str | None = None) -> LogSettings:
    """The settings of the config file, with `level` instead of its own."""
    return LogSettings(level or config.log_level, config.log_file, config.log_format == "json", config.log_personal)


class LogOutput:
    """The log of a server, from start to end; see the module. Raises ConfigError if the file cannot be written."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._stderr = os.dup(_STDERR)
        try:
            self._handler = _install(settings, LogWriter(_sink(settings, self._stderr), _notice_of(settings)))
        except ConfigError:
            os.close(self._stderr)
            raise
        self._pump = _StderrPump(self._stderr)

    @property
    def n_dropped(self) -> int:
        """Lines that could not be written in time and were lost."""
        return self._handler.writer.n_dropped

    def change(self, settings: LogSettings) -> None:
        """Change the settings; a file is always opened again. Raises ConfigError, and then changes nothing."""
        sink = _sink(settings, self._stderr)
        self._settings = settings
        self._handler.setFormatter(settings.formatter)
        logging.getLogger().setLevel(LEVELS.get(settings.level, settings.level.upper()))
        self._handler.writer.replace_sink(sink)

    def close(self) -> None:
        """Write the rest, within a time limit, and restore standard error."""
        self._pump.close()
        self._handler.close()


def log_health() -> dict[str, object]:
    """The log's part of `/health`: lines lost since the start because they could not be written in time."""
    writers = [handler.writer for handler in logging.getLogger().handlers if isinstance(handler, QueuedHandler)]
    return {"log": {"dropped_lines": sum(writer.n_dropped for writer in writers)}}


class _StderrPump:
    """Replaces standard error by a pipe and turns its lines into log records, until it is closed."""

    def __init__(self, real: int) -> None:
        self._real = real
        sys.stderr.flush()
        self._reading, writing = os.pipe()
        os.dup2(writing, _STDERR)
        os.close(writing)
        os.environ[HANDS_OVER_RECORDS] = "1"
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Restore standard error. Remaining children hold the pipe's other end; this does not wait for them."""
        sys.stderr.flush()
        os.environ.pop(HANDS_OVER_RECORDS, None)
        os.dup2(self._real, _STDERR)
        self._thread.join(0.2)

    def _run(self) -> None:
        rest, stray = b"", _StrayLines()
        while data := os.read(self._reading, 65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                stray.take(line)
            if len(rest) > MAX_STRAY_LINE_BYTES:
                stray.take(rest)
                rest = b""
        if rest:
            stray.take(rest)
        stray.tell()


class _StrayLines:
    """Turns lines into records: those of children into their own, any other one into ours, at most `MAX_STRAY_LINES` a second."""

    def __init__(self) -> None:
        self._second = time.monotonic()
        self._n_lines = 0
        self._n_left_out = 0

    def take(self, line: bytes) -> None:
        """Log one line."""
        if not line.startswith(_RECORD_MARK):
            if time.monotonic() - self._second >= 1.0:
                self.tell()
                self._second, self._n_lines = time.monotonic(), 0
            self._n_lines += 1
            if self._n_lines > MAX_STRAY_LINES:
                self._n_left_out += 1
                return
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        record = read_record(text)
        if record is not None:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        elif text.strip():
            stray_log.warning("written to standard error", extra={"line": text})

    def tell(self) -> None:
        """Log how many lines were left out."""
        if self._n_left_out:
            stray_log.warning("lines on standard error were left out", extra={"n_lines": self._n_left_out})
        self._n_left_out = 0


def _install(settings: LogSettings, writer: LogWriter) -> QueuedHandler:
    handler = QueuedHandler(writer)
    handler.setFormatter(settings.formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS.get(settings.level, settings.level.upper()))
    logging.raiseExceptions = False
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


def _sink(settings: LogSettings, stderr: int) -> Sink:
    if settings.file is None:
        return DescriptorSink(stderr)
    path = Path(settings.file)
    if not path.absolute().parent.is_dir():
        raise ConfigError("log_file", f"there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise ConfigError("log_file", f"{path} is a folder")
    writable = path if path.exists() else path.absolute().parent
    if not os.access(writable, os.W_OK):
        raise ConfigError("log_file", f"{writable} cannot be written by this user")
    return FileSink(path)


def _notice_of(settings: LogSettings) -> Any:
    def notice(n_lines: int, lasted_s: float) -> str:
        fields: Mapping[str, Any] = {"n_lines": n_lines, "within_s": round(lasted_s, 1)}
        record = logging.LogRecord("active_call.log", logging.WARNING, "", 0, "log lines were dropped", None, None)
        record.__dict__.update(fields)
        return settings.formatter.format(record)

    return notice
