"""Faults of a simulated vendor, each a switch, and values of wrong types in place of right ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KIND_KEYS: Final = frozenset(
    {
        "type",
        "message",
        "message_type",
        "event",
        "messageType",
        "Path",
        "header",
        "task_status",
        "object",
        "code",
        "error",
        "error_code",
        "status",
    }
)
"""Keys that say what a message is: without them it would be no wrong message, but none."""


@dataclass(slots=True)
class Faults:
    """Switches that are read when they matter, so a test may change them while a server runs."""

    wrong_key: bool = False
    """The key counts as wrong, whatever it is."""
    quota: bool = False
    """The account has no quota left: refused in the vendor's own words."""
    status: int | None = None
    """Every request and every handshake is refused with this status."""
    close_after: int | None = None
    """The connection is closed after that many messages (WebSocket) or pieces of a body (HTTP) sent to the client."""
    close_code: int | None = 1011
    """The close code; None: cut without a close frame."""
    delay_s: float = 0.0
    """Delay before the first message or the first byte of a response."""
    is_silent: bool = False
    """Everything is accepted, and nothing is ever sent."""
    is_garbage: bool = False
    """Text messages are not JSON."""
    wrong_types: bool = False
    """Values in messages have other types than documented."""
    refuse_after: int | None = None
    """Connections beyond that many are refused with status 503."""


def with_wrong_types(value: Any, key: str = "") -> Any:
    """`value` with objects for texts, texts for numbers and numbers for lists; what says the kind of a message stays."""
    match value:
        case Mapping():
            return {name: with_wrong_types(inner, name) for name, inner in value.items()}
        case _ if key in KIND_KEYS:
            return value
        case bool():
            return value
        case str():
            return {"unexpected": value}
        case int() | float():
            return f"about {value}"
        case list():
            return len(value) if key else [with_wrong_types(inner) for inner in value]
        case _:
            return value
