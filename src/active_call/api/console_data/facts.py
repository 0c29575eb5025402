"""The server's facts for its console, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from active_call.agent.playbook.check import PlaybookResources


def _nothing() -> list[dict[str, Any]]:
    return []


class ConsoleFacts(Struct, frozen=True):
    """The server's facts for its console."""

    settings: Callable[[], Sequence[dict[str, Any]]] = _nothing
    """Each setting with its value, without secrets, and its source."""
    trunks: Callable[[], Sequence[dict[str, Any]]] = _nothing
    """Each trunk with its state."""
    accounts: Callable[[], Sequence[dict[str, Any]]] = _nothing
    """Each registered account with its state."""
    refusals: Callable[[], dict[str, int]] = dict
    """How many requests and calls were refused, by rule."""
    resources: Callable[[], PlaybookResources] = field(default=lambda: PlaybookResources({}))
    """The known names that playbooks are checked against."""
