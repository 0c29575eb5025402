"""Ended calls as lists show them. Rows and the filters of a query in, plain JSON values out; for the API and for a command."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

COMPLETED: Final = "completed"
"""What the Rust program's clients expect as the status of a call in the list."""
ANSWERED: Final = "answered"
"""The same in the record."""


def listed_record(item: dict[str, Any]) -> dict[str, Any]:
    """A call in the list, with `duration` and `status` as the Rust program's clients read them (docs/decisions/0079)."""
    seconds, outcome = float(item["duration"]), item["status"]
    text = f"{seconds:.3f}".rstrip("0").rstrip(".")
    status = COMPLETED if outcome == ANSWERED else outcome
    return item | {"duration": f"{text}s", "durationS": seconds, "status": status, "outcome": outcome}


def outcome_of(status: str) -> str:
    """The status in the record for one in the list."""
    return ANSWERED if status == COMPLETED else status


def parse_time(text: str) -> datetime | None:
    """The time of a filter, in UTC unless it has an offset; None if empty. Raises ValueError with what was expected."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "+"))  # a client that has not encoded the plus of an offset
    except ValueError:
        raise ValueError(f"expected a time such as 2026-03-04T23:59:30Z or 2026-03-04, found {text!r}") from None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("the time is out of range") from None
