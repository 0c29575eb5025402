"""How log records look: constant message, then fields as key=value (for people) or one JSON object a line.

Fields are what was given as `extra`; those under a personal key (numbers, digits, words said) can be switched off.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from typing import Any

PERSONAL_KEYS = frozenset({"caller", "callee", "digit", "digits", "text", "transcript", "prompt", "number"})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
LEVELS = {"trace": logging.DEBUG, "warn": logging.WARNING}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given with a record; `fields` holds more of them."""
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "fields"}
    nested = getattr(record, "fields", None)
    return {**fields, **nested} if isinstance(nested, dict) else fields


class PlainFormatter(logging.Formatter):
    """`12:00:01.234 INFO  call: call started  session_id=… leg=sip`"""

    def __init__(self, *, personal: bool = True) -> None:
        super().__init__()
        self._personal = personal

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        shown = {key: value for key, value in fields_of(record).items() if self._personal or key not in PERSONAL_KEYS}
        tail = "".join(f" {key}={_short(value)}" for key, value in shown.items() if value not in (None, ""))
        name = record.name.removeprefix("active_call.")
        line = f"{time}.{int(record.msecs):03d} {record.levelname:<7} {name}: {record.getMessage()}{' ' if tail else ''}{tail}"
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, *, personal: bool = True) -> None:
        super().__init__()
        self._personal = personal

    def format(self, record: logging.LogRecord) -> str:
        obj = {"at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower(), "room": record.name}
        obj["message"] = record.getMessage()
        obj |= {key: value for key, value in fields_of(record).items() if self._personal or key not in PERSONAL_KEYS}
        if record.exc_info:
            obj["exception"] = self.formatException(record.exc_info)
        return json.dumps(obj, default=str, ensure_ascii=False)


def set_up_logging(level: str, file: str | None = None, *, as_json: bool = False) -> None:
    """Log to standard error, or to `file`, which may be rotated from outside."""
    handler: logging.Handler = logging.handlers.WatchedFileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS.get(level, level.upper()))
    for noisy in ("httpx", "httpcore", "openai", "asyncio", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _short(value: Any) -> str:
    text = str(value).replace("\n", "\\n")
    text = text if len(text) <= 300 else text[:297] + "..."
    return f'"{text}"' if " " in text else text
