"""Hosts and folders that one call may use in addition to those that the server allows every call; its playbook file names them.

A value object: it is created when a playbook file is read, belongs to that playbook, and is passed to the code that opens a connection or a
file for the call. It never changes, so one playbook's entries have no effect on other calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Place = tuple[str, int]
"""Host in lower case and port."""


@dataclass(frozen=True, slots=True)
class Trust:
    """`hosts` may lie in a private network; files in `folders` may be played."""

    hosts: frozenset[Place] = frozenset()
    folders: frozenset[Path] = frozenset()


NO_TRUST: Final = Trust()
"""The trust of a call without a playbook, and of a playbook that came as text."""


def urls_of_values(value: object) -> list[str]:
    """Every http(s) or ws(s) URL that is a complete text in `value`, which consists of mappings, sequences and plain values."""
    match value:
        case str():
            return [value] if value[:8].lower().startswith(("http://", "https://", "ws://", "wss://")) else []
        case Mapping():
            return [url for inner in value.values() for url in urls_of_values(inner)]
        case list() | tuple():
            return [url for inner in value for url in urls_of_values(inner)]
        case _:
            return []
