"""Internal errors while one input was handled: contained to that input, and reported.

An unexpected exception goes in; an `InternalFault` comes out. Each loop over inputs (messages of one read, due timers, transactions of a
lost connection) guards every input separately, so that the others are still handled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from active_call.sip.events import CallHandle, InternalFault


class PartOfCall(Protocol):
    """An object that sets timers or handles inputs for a call."""

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and our tag of that call. An internal error ends it."""


class Faults:
    """The errors that have not been reported yet."""

    def __init__(self) -> None:
        self._noted: list[InternalFault] = []

    def note(self, where: str, error: Exception, *, call: CallHandle | None = None, call_id: str = "") -> None:
        """Record an error.

        `where` is `message`, `timer`, `look_up`, `connection_lost`, `transport_error`, `unreachable`, `hang_up` or `bye`.
        """
        self._noted.append(InternalFault(where, error, call, call_id))

    def guard(self, where: str, action: Callable[[], object]) -> None:
        """Run `action` and record an exception that it raises."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 (contains the errors of one input)
            self.note(where, error)

    @property
    def is_empty(self) -> bool:
        """Whether `take` has nothing."""
        return not self._noted

    def take(self) -> list[InternalFault]:
        """The recorded errors, in order. Each is returned once."""
        taken, self._noted = self._noted, []
        return taken
