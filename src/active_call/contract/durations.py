"""Durations as people write them: `8s`, `500ms`, `2m`, `1h`, `7d`. In: text, and the unit of its key. Out: a number in that unit."""

from __future__ import annotations

import re
from typing import Literal

Unit = Literal["ms", "s"]

_MS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)?\s*")


def in_unit(value: object, unit: Unit) -> object:
    """A text such as `8s` as a number in `unit`; one without a unit keeps that of the key. Anything else is returned unchanged."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    number = float(match[1]) * _MS[match[2] or unit] / _MS[unit]
    return int(number) if number.is_integer() else number
