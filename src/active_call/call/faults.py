"""The wall around each action of a call: an item of its mailbox, a deadline, a command, a task.

An exception there is logged and reported as one `error` event, and the call continues. After `MAX_FAULTS` of them something is permanently
broken: the call is ended, and no other. This is the call's only place that catches every exception.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from active_call.base.errors import ActiveCallError
from active_call.call.log import CallLog

MAX_FAULTS = 20
"""How many exceptions one call survives; a deadline that fails each time must not repeat forever."""


class Faults:
    """Counts the faults of one call. `tell(sender, error)` emits the `error` event, `give_up(reason)` ends the call.

    `before_step` is called before the first step of each task.
    """

    def __init__(
        self,
        log: CallLog,
        tell: Callable[[str, str], None],
        give_up: Callable[[str], None],
        before_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._report = tell
        self._give_up = give_up
        self._before_step = before_step
        self.n_faults = 0

    def attempt(self, sender: str, work: Callable[..., object], *given: object) -> bool:
        """Call `work(*given)`; False if it failed. `sender` names the failed action in the `error` event."""
        try:
            work(*given)
        except Exception as error:  # noqa: BLE001 - the wall of the call
            self.note(sender, error)
            return False
        return True

    async def watch_over(self, sender: str, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, a task of the call; its failure does not end the call."""
        try:
            self._before_step()
            await work
        except Exception as error:  # noqa: BLE001 - the wall of the call
            self.note(sender, error)

    def note(self, sender: str, error: Exception) -> None:
        """Log and report a failure, and end the call if there were too many."""
        self.n_faults += 1
        is_expected = isinstance(error, ActiveCallError)
        fields = {"sender": sender, "error": str(error), "n_faults": self.n_faults}
        self._log.error("part of a call failed", extra=fields, exc_info=None if is_expected else error)
        try:
            self._report(sender, str(error) if is_expected else f"unforeseen {type(error).__name__}: {error}")
        except Exception:  # noqa: BLE001 - reporting a fault must not raise
            self._log.exception("fault could not be told")
        if self.n_faults == MAX_FAULTS:
            self._give_up(f"{MAX_FAULTS} faults in one call, the last: {type(error).__name__}: {error}")
