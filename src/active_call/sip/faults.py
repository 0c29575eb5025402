"""Errors of our own while one input was handled: kept to that input, and reported.

An exception that no part expected enters; an `InternalFault` leaves. Each loop over inputs (messages of one read, timers that are due,
transactions of a lost connection) guards each input by itself, so that the others are still handled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from active_call.sip.events import CallHandle, InternalFault


class PartOfCall(Protocol):
    """Who sets an alarm, or is handed an input, on behalf of a call."""

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag of that call, which an error of ours ends."""


class Faults:
    """The errors that were not reported yet."""

    def __init__(self) -> None:
        self._noted: list[InternalFault] = []

    def note(self, where: str, error: Exception, *, call: CallHandle | None = None, call_id: str = "") -> None:
        """`where` is one of `message`, `timer`, `look_up`, `connection_lost`, `transport_error`, `unreachable`, `hang_up`, `bye`."""
        self._noted.append(InternalFault(where, error, call, call_id))

    def guard(self, where: str, action: Callable[[], object]) -> None:
        """Run `action`; note what it raises."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 (a wall: one input)
            self.note(where, error)

    def take(self) -> list[InternalFault]:
        """What was noted, in order; handed out once."""
        taken, self._noted = self._noted, []
        return taken
