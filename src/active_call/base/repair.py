"""Repairs external values so that JSON and a database can hold them.

Any value enters; the same value leaves if it can be stored, else a repaired form. In text, unpaired surrogates become U+FFFD, and NUL,
which PostgreSQL cannot store, is removed. Numbers that JSON does not support become null. Unknown types become their text. Depth is
limited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
"""Deeper values are cut; msgspec and other JSON readers fail at some hundred levels."""
CUT: Final = "…"
_MAX_INTEGER: Final = 2**63
"""The largest integer that all JSON readers read without loss."""


def valid_unicode(text: str) -> str:
    """`text` in a form that every encoder accepts: surrogate pairs are joined, an unpaired one becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean_text(text: str) -> str:
    """`text` in a form that every encoder and database accepts."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    return valid_unicode(text.replace("\0", ""))


def repaired(value: Any, depth: int = 0) -> Any:
    """`value` as plain JSON values: dict, list, str, int, float, bool and None."""
    match value:
        case None | bool():
            return value
        case str():
            return clean_text(str(value))
        case int():
            return int(value) if -_MAX_INTEGER <= value < _MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date():
            return value.isoformat()
        case bytes() | bytearray():
            return clean_text(bytes(value).decode("utf-8", "replace"))
        case _ if depth >= MAX_DEPTH:
            return CUT
        case msgspec.Struct():
            names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            return {encoded: repaired(getattr(value, name), depth + 1) for encoded, name in names}
        case Mapping():
            return {text_of(key): repaired(entry, depth + 1) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset():
            return [repaired(entry, depth + 1) for entry in value]
        case _:
            return text_of(value)


def encode_json(value: Any) -> bytes:
    """`value` as JSON, repaired if it cannot be encoded as it is. Never raises because of a value's content."""
    try:
        data = msgspec.json.encode(value, enc_hook=text_of)
        if b"\\u0000" not in data and _is_utf8(data):
            return data
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
        pass
    return msgspec.json.encode(repaired(value))


def text_of(value: object) -> str:
    """The text of a value of any type."""
    try:
        return clean_text(str(value))
    except Exception:  # noqa: BLE001 (the value's own `__str__` may raise anything; the record must survive it)
        return f"<{type(value).__name__}>"


def _is_utf8(data: bytes) -> bool:
    """Whether the encoded text contains no unpaired surrogate."""
    return data.isascii() or b"\xed" not in data or _decodes(data)


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
