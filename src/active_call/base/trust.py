"""What one call may use in addition to what every call may: the hosts and folders that its playbook file names, and a key set.

A value object: it is created when a playbook file is read, belongs to that playbook, and is passed to the code that opens a connection or a
file for the call. It never changes, so one playbook's entries have no effect on other calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

Place = tuple[str, int]
"""Host in lower case and port."""


class Trust(Struct, frozen=True):
    """`hosts` may lie in a private network; files in `folders` may be played."""

    hosts: frozenset[Place] = frozenset()
    folders: frozenset[Path] = frozenset()
    keys: str = ""
    """The name of the key set in the config file for the call's providers; empty: only the environment's keys."""

    def with_keys(self, name: str | None) -> Trust:
        """A copy with the key set `name`."""
        return self if (name or "") == self.keys else replace(self, keys=name or "")


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
