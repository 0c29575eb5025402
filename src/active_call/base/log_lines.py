"""How a log record looks to people: constant message, then its fields as key=value.

Fields are what was given as `extra`; those under a personal key (numbers, digits, words said) can be switched off. Every process of the
program writes its lines this way.
"""

from __future__ import annotations

import logging
from typing import Any

PERSONAL_KEYS = frozenset({"caller", "callee", "digit", "digits", "text", "transcript", "prompt", "number"})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


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


def _short(value: Any) -> str:
    text = str(value).replace("\n", "\\n")
    text = text if len(text) <= 300 else text[:297] + "..."
    return f'"{text}"' if " " in text else text
