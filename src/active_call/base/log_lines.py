"""Formats a log record as one line: a constant message, then its fields as `key=value`. All processes of the program use this format.

Fields are what was passed as `extra`. They often hold external text, so a line is written so that it can be parsed unambiguously:
a value is bare only if it is one plain word, else a JSON string; control, bidirectional and separator characters are always `\\uXXXX`.
A message that is not constant (from another library) is written as a JSON string if it could be read as fields. Lines of a
traceback begin with `    | `, which no line of a record does. Fields under a personal key can be switched off; then telephone numbers are
also removed from all other text.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

PERSONAL_KEYS = frozenset(
    {"caller", "callee", "digit", "digits", "text", "transcript", "prompt", "number", "target", "words", "refer_to", "display_name"}
)
"""Fields that may hold numbers, names, digits or words of a person."""

RECORD_MARK = "\x1e"
"""Starts a line that holds a whole record as JSON, sent by a child process to the process that writes the log."""

MAX_VALUE_CHARS = 300
MAX_TRACEBACK_LINES = 120
MAX_TRACEBACK_LINE_CHARS = 1000
TRACEBACK_MARK = "    | "

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_USER_OF_ADDRESS = re.compile(r"\b(sips?|tel):[^\s@<>\"';,]+(?=@)|\b(tel):[^\s<>\"';,]+", re.I)
_NUMBER = re.compile(r"(?<![0-9A-Za-z_])(?:\+\d[\d ().-]{3,}\d|\d{6,}|%2B\d{5,})(?![0-9A-Za-z_])", re.I)
"""The pattern of a telephone number. It does not match parts of IP addresses, ports, times and words such as ids."""
REMOVED = "…"

_BARE = re.compile(r"[^\s\"=\\]+")
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields passed with a record; `fields` holds additional ones."""
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and key != "fields"}
    nested = getattr(record, "fields", None)
    return {**fields, **nested} if isinstance(nested, dict) else fields


def shown_fields(record: logging.LogRecord, *, personal: bool) -> dict[str, Any]:
    """The fields to write. With `personal` False, fields under a personal key are left out, and numbers in the others are masked."""
    fields = fields_of(record)
    if personal:
        return fields
    return {key: _impersonal(key, value) for key, value in fields.items() if key.lower() not in PERSONAL_KEYS}


def without_numbers(text: str) -> str:
    """`text` with `…` for telephone numbers and for the users of SIP addresses, which errors and reasons quote."""
    return _NUMBER.sub(REMOVED, _USER_OF_ADDRESS.sub(lambda found: f"{found[1] or found[2]}:{REMOVED}", text))


def _impersonal(key: str, value: Any) -> Any:
    """Ids and figures are not personal data and stay unchanged."""
    if value is None or isinstance(value, bool | int | float) or key.lower().endswith("id"):
        return value
    return without_numbers(text_of(value))


def escaped(text: str) -> str:
    """`text` with every character that a terminal, a pager or a log reader could act on as `\\uXXXX`; letters of all scripts stay."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _code(char) for char in text)


def quoted(text: str) -> str:
    """`text` as one token: bare if it is a plain word, else a JSON string."""
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(inner)}"'


def text_of(value: Any) -> str:
    """`value` as text of bounded length. A value without a text form does not lose the line."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 (a foreign __str__)
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "..."


def message_of(record: logging.LogRecord) -> str:
    """The record's message; if its arguments do not fit, the unformatted message."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 (another library's mistake)
        return str(record.msg)


def traceback_of(record: logging.LogRecord) -> list[str]:
    """The lines of the record's exception and stack, escaped and bounded; of a long one the end is kept."""
    text = logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    if record.stack_info:
        text += f"\n{record.stack_info}"
    lines = [escaped(line[:MAX_TRACEBACK_LINE_CHARS]) for line in text.split("\n") if line]
    if len(lines) > MAX_TRACEBACK_LINES:
        kept = MAX_TRACEBACK_LINES // 2
        lines = [*lines[:kept], f"... {len(lines) - 2 * kept} lines left out", *lines[-kept:]]
    return lines


class PlainFormatter(logging.Formatter):
    """`12:00:01.234 INFO    call: call started  session_id=… leg=sip`"""

    def __init__(self, *, personal: bool = True) -> None:
        super().__init__()
        self._personal = personal

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        message, traceback = message_of(record), traceback_of(record)
        if not self._personal:
            message, traceback = without_numbers(message), [without_numbers(one) for one in traceback]
        if "=" in message or '"' in message or not message.isprintable():
            message = quoted(message)
        shown = shown_fields(record, personal=self._personal)
        tail = "".join(f" {_key(key)}={quoted(text_of(value))}" for key, value in shown.items() if value is not None and value != "")
        name = escaped(record.name.removeprefix("active_call."))
        line = f"{time}.{int(record.msecs):03d} {record.levelname:<7} {name}: {message}{' ' if tail else ''}{tail}"
        return "\n".join([line, *(TRACEBACK_MARK + one for one in traceback)])


class RecordFormatter(logging.Formatter):
    """The whole record in one line after `RECORD_MARK`, for the process that reads our standard error and writes the log."""

    def format(self, record: logging.LogRecord) -> str:
        obj: dict[str, Any] = {
            "name": record.name,
            "level": record.levelno,
            "created": record.created,
            "message": message_of(record),
            "fields": {key: text_of(value) for key, value in fields_of(record).items()},
            "traceback": traceback_of(record),
        }
        return RECORD_MARK + json.dumps(obj)


def read_record(line: str) -> logging.LogRecord | None:
    """The record that `RecordFormatter` wrote as `line`; None for any other line."""
    if not line.startswith(RECORD_MARK):
        return None
    try:
        obj = json.loads(line[len(RECORD_MARK) :])
        record = logging.LogRecord(str(obj["name"]), int(obj["level"]), "", 0, "%s", (str(obj["message"]),), None)
        record.created = float(obj["created"])
        record.msecs = record.created % 1 * 1000
        record.__dict__["fields"] = {str(key): str(value) for key, value in dict(obj["fields"]).items()}
        record.stack_info = "\n".join(str(one) for one in obj["traceback"]) or None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return record


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def _code(char: str) -> str:
    point = ord(char)
    if point < 0x10000:
        return f"\\u{point:04x}"
    point -= 0x10000
    return f"\\u{0xD800 + (point >> 10):04x}\\u{0xDC00 + (point & 0x3FF):04x}"
