"""Where the log goes, and how its records look: lines for people (`base.log_lines`) or one JSON object a line."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys

from active_call.base.log_lines import PERSONAL_KEYS, PlainFormatter, fields_of

LEVELS = {"trace": logging.DEBUG, "warn": logging.WARNING}


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
