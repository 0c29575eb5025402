"""JSON text from outside, read once and strictly.

In: bytes or text. Out: dicts, lists, strings and numbers that the rest of the program can hold, compare and write again. Raises
ContractError and nothing else, with the place where there is one. RFC 8259 (sections 4, 6, 8.2) leaves open what a reader does with names
that come twice, numbers that no double holds, and escapes of half a surrogate pair; here they are refused.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from active_call.contract.errors import ContractError

MAX_DEPTH: Final = 64
"""Levels of objects and arrays. Options have five; a client's `vars` may have some more."""
MAX_VALUES: Final = 20_000
"""Values in one text: checking them keeps the loop for less than 50 ms."""
MAX_INTEGER: Final = 2**63 - 1
"""What a database column, and any JSON reader with 64 bits, can hold."""


def decode_json(data: bytes | str) -> Any:
    """The value that `data` holds. Raises ContractError if it is not JSON in UTF-8, too deep, too large or ambiguous."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ContractError("", f"not JSON: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ContractError("", f"not JSON that can be read: nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise ContractError("", f"not JSON: {error}") from error
    check_value(value)
    return value


def type_name(value: Any) -> str:
    """JSON's name of the type of a decoded value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
    return "an object"


def check_value(value: Any, path: str = "") -> None:
    """Raise ContractError if `value` (dicts, lists, strings, numbers) cannot be written as JSON in UTF-8 again."""
    waiting: list[tuple[Any, tuple[Any, ...] | None, int]] = [(value, None, 0)]
    n_values = 1
    while waiting:
        current, place, depth = waiting.pop()
        reason = _reason_against(current, depth)
        if reason:
            raise ContractError(_dotted(path, place), reason)
        if not isinstance(current, dict | list):
            continue
        n_values += len(current)
        if n_values > MAX_VALUES:
            raise ContractError(path, f"more than {MAX_VALUES} values")
        if isinstance(current, dict):
            for key in current:
                if isinstance(key, str) and _half_pair(key):
                    raise ContractError(_dotted(path, place), f"the name {key!r} is no Unicode text")
        entries = current.items() if isinstance(current, dict) else enumerate(current)
        waiting.extend((entry, (place, key), depth + 1) for key, entry in entries if not _is_plain(entry))


def _is_plain(value: Any) -> bool:
    """Whether `value` is certainly valid. This is the fast path: most values are."""
    kind = type(value)
    if kind is int:
        return bool(-MAX_INTEGER <= value <= MAX_INTEGER)
    if kind is str:
        return bool(value.isascii())
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


def _reason_against(value: Any, depth: int) -> str:
    match value:
        case str():
            half = _half_pair(value)
            return f"expected Unicode text, found {half!r}" if half else ""
        case bool() | None:
            return ""
        case int():
            return "" if -MAX_INTEGER - 1 <= value <= MAX_INTEGER else "expected a number of at most 64 bits"
        case float():
            return "" if math.isfinite(value) else f"expected a finite number, found {value}"
        case dict() | list():
            return f"nested more than {MAX_DEPTH} levels deep" if depth >= MAX_DEPTH else ""
    return ""


def _half_pair(text: str) -> str:
    """The first half of a surrogate pair in `text`; empty if there is none."""
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:80]!r} is given twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _dotted(path: str, place: tuple[Any, ...] | None) -> str:
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{str(key)[:80]}")
    return (path + "".join(reversed(parts))).lstrip(".").encode("utf-8", "backslashreplace").decode()
