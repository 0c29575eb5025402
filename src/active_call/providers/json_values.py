"""Values out of a vendor's JSON, whatever stands there: a text, a number, a list or an object, or nothing. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from active_call.base.errors import ProviderError
from active_call.base.repair import valid_unicode
from active_call.providers.http import EXCERPT_CHARS

MAX_ITEMS = 4_000
"""Of one list: more words than an utterance has."""


def read_object(provider: str, message: str | bytes) -> Mapping[str, Any]:
    """The JSON object in `message`. Raises ProviderError if it is not one; another connection may do better."""
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


def text(value: Any) -> str:
    """`value` where it is a text, else an empty one."""
    return valid_unicode(value) if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """`value` where it is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in the list `value`; none where it is no list."""
    return [item for item in value[:MAX_ITEMS] if isinstance(item, dict)] if isinstance(value, list) else []


def mapping_in(value: Any, *names: str) -> Mapping[str, Any]:
    """The object under `names` in `value`, one below the other; an empty one where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def count_in(value: Mapping[str, Any], name: str) -> int:
    """A number of tokens in a vendor's object; 0 where there is no such number."""
    count = value.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0
