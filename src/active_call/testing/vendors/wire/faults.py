"""Faults of a simulated vendor, one switch each, and the replacement of values by wrong types. Pure."""

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
"""Keys that identify the type of a message. They stay unchanged, so that adapters recognise the wrong message."""


@dataclass(slots=True)
class Faults:
    """Switches that are read at the time of use, so a test may change them while a server runs."""

    wrong_key: bool = False
    """Every key is wrong."""
    quota: bool = False
    """The account has no quota left: the vendor's own error is sent."""
    status: int | None = None
    """Every request and every handshake is refused with this status."""
    close_after: int | None = None
    """The connection is closed after that many messages (WebSocket) or pieces of a body (HTTP) sent to the client."""
    close_code: int | None = 1011
    """The close code; None: abort without a close frame."""
    delay_s: float = 0.0
    """Delay before the first message or the first byte of a response."""
    is_silent: bool = False
    """The server accepts everything and sends nothing."""
    is_garbage: bool = False
    """Text messages are not JSON."""
    wrong_types: bool = False
    """Values in messages have other types than documented."""
    refuse_after: int | None = None
    """Connections beyond that many are refused with status 503."""


def with_wrong_types(value: Any, key: str = "") -> Any:
    """`value` with texts replaced by objects, numbers by texts, and lists by numbers; `KIND_KEYS` stay unchanged."""
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
