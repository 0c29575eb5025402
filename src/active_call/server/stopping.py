"""Stop signals: the first ends the program in order, the second ends calls at once, the third exits immediately.

SIGTERM and SIGINT enter, in any mixture; one cancellation of the main task leaves, then a notification of the code that waits for calls. A
second signal does not cancel a second time, because closing calls and records must not be interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Final

log = logging.getLogger("active_call.server")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE: Final = 130
"""The exit code after the third signal."""


class Stopping:
    """Counts the signals. The draining code sets `end_calls_now`; `exit_now` ends the process."""

    def __init__(self, exit_now: Callable[[int], object] = os._exit) -> None:
        self._exit_now = exit_now
        self._n_signals = 0
        self.end_calls_now: Callable[[], object] = lambda: None

    def attach(self, loop: asyncio.AbstractEventLoop, cancel: Callable[[], object]) -> None:
        """Handle the signals from now on; the first calls `cancel`."""
        for number in SIGNALS:
            loop.add_signal_handler(number, self.handle, number, cancel)

    def handle(self, number: signal.Signals, cancel: Callable[[], object]) -> None:
        """Handle one signal."""
        self._n_signals += 1
        name = signal.Signals(number).name
        match self._n_signals:
            case 1:
                log.info("asked to stop", extra={"signal": name, "more": "send it again to end calls now, a third time to exit at once"})
                cancel()
            case 2:
                log.warning("asked to stop again: ending calls now", extra={"signal": name})
                self.end_calls_now()
            case _:
                log.error("asked to stop a third time: exiting at once", extra={"signal": name})
                self._exit_now(EXIT_CODE)
