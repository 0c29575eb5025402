"""Reads values from a vendor's JSON of any shape: a text, a number, a list, an object, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from active_call.base.errors import ProviderError
from active_call.base.repair import valid_unicode
from active_call.providers.http import EXCERPT_CHARS

MAX_ITEMS = 4_000
"""The longest list that is read: more words than an utterance has."""
MAX_NUMBER = 1e15
"""The largest number that is read, either sign: more than a time in microseconds. Larger ones cannot be calculated with."""


def read_object(provider: str, message: str | bytes) -> Mapping[str, Any]:
    """The JSON object in `message`. Raises a retryable ProviderError if it is not one: another connection may work."""
    try:
        value = msgspec.json.decode(message)
    except (ValueError, RecursionError):
        excerpt = message[:EXCERPT_CHARS] if isinstance(message, str) else f"{len(message)} bytes"
        raise ProviderError(provider, f"sent text that is not JSON: {excerpt!r}", retryable=True) from None
    if not isinstance(value, dict):
        raise ProviderError(provider, f"sent {type(value).__name__} instead of a JSON object", retryable=True)
    return value


def write_object(value: Mapping[str, Any]) -> str:
    """`value` as JSON text."""
    return msgspec.json.encode(value).decode()


def merged(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with those of `more`, which win. Objects that are in both are merged in the same way, unless they have different `type`s."""
    both = {name: merged(fields[name], value) for name, value in more.items() if _are_alike(fields.get(name), value)}
    return {**fields, **more, **both}


def _are_alike(one: Any, other: Any) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping) and one.get("type") == other.get("type", one.get("type"))


def text(value: Any) -> str:
    """`value` if it is a text, else an empty text."""
    return valid_unicode(value) if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """`value` if it is a finite number of a usable size, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -MAX_NUMBER <= value <= MAX_NUMBER else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in the list `value`; none if it is not a list."""
    return [item for item in value[:MAX_ITEMS] if isinstance(item, dict)] if isinstance(value, list) else []


def mapping_in(value: Any, *names: str) -> Mapping[str, Any]:
    """The object found by following `names` into `value`; an empty one if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def count_in(value: Mapping[str, Any], name: str) -> int:
    """A token count in a vendor's object; 0 if there is no such number."""
    count = value.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= MAX_NUMBER else 0
