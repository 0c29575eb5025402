"""Stop signals: the first ends the program in order, the second ends calls at once, the third exits immediately.

SIGTERM and SIGINT enter, in any mixture; one cancellation of the main task leaves, then a notification of the code that waits for calls. A
second signal does not cancel a second time, because closing calls and records must not be interrupted.

The signals are handled between two steps of the interpreter, not by the event loop: the third one also ends a loop that is stuck in a step.
And a thread limits the whole stop (`ExitLimit`), whatever it waits for: a thread that never ends, or a task that ignores its cancellation.
Calls that were open then are closed as `crashed` by the next start.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

log = logging.getLogger("active_call.server")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE: Final = 130
"""The exit code after the third signal."""
LATE_CODE: Final = 1
"""The exit code if the stop takes too long."""
STOP_S: Final = 60.0
"""The time for the stop after calls have had `drain_s`: up to 18 s for calls that do not end, 3 s for HTTP, 38 s for the other parts."""
HURRIED_S: Final = 5.0
"""The time for the stop after the second signal."""
EXIT_S: Final = 5.0
"""The time for what is left of the program once everything is closed: threads that still run."""
LOG_S: Final = 0.5
MOST_NAMES: Final = 20
TOO_LONG: Final = "the stop takes too long; the next start closes the records of calls that are open"


class ExitLimit:
    """Ends the process when its time is over. It runs in a thread of its own, so it does so also if everything else is stuck.

    `name_tasks` returns the names of the tasks that have not ended, for the log.
    """

    def __init__(self, exit_now: Callable[[int], object] = os._exit, name_tasks: Callable[[], list[str]] = list) -> None:
        self._exit_now = exit_now
        self._name_tasks = name_tasks
        self._limits: queue.SimpleQueue[tuple[float, int, str]] = queue.SimpleQueue()
        """New limits; this queue may be used in a signal handler."""

    def start(self) -> None:
        """Start the thread, without a limit."""
        threading.Thread(target=self._watch, name="exit limit", daemon=True).start()

    def allow(self, time_s: float, reason: str = "", code: int = LATE_CODE) -> None:
        """Exit with `code` in `time_s` from now, and not at an earlier limit; log the `reason`. Infinite: no limit."""
        self._limits.put((time.monotonic() + time_s, code, reason))

    def _watch(self) -> None:
        deadline, code, reason = inf, LATE_CODE, ""
        while deadline > time.monotonic():
            with suppress(queue.Empty):
                left_s = None if deadline == inf else min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
                deadline, code, reason = self._limits.get(timeout=left_s)
        telling = threading.Thread(target=self._tell, args=(reason,), daemon=True)  # the log may be stuck too
        telling.start()
        telling.join(LOG_S)
        self._exit_now(code)

    def _tell(self, reason: str) -> None:
        """Say what the program was doing when it was ended."""
        names = self._name_tasks()
        log.critical("exiting now", extra={"reason": reason, "tasks": names[:MOST_NAMES], "n_tasks": len(names)})
        with suppress(OSError, ValueError, AttributeError):  # standard error may be closed, or have no descriptor
            faulthandler.dump_traceback(sys.stderr)


def _tasks_of(loop: asyncio.AbstractEventLoop | None) -> list[str]:
    """The names of the tasks of a loop that runs in another thread."""
    with suppress(RuntimeError):  # a task begins or ends meanwhile
        return sorted(task.get_name() for task in asyncio.all_tasks(loop)) if loop is not None else []
    return []


class Stopping:
    """Counts the signals. Code that drains sets `end_calls_now` and `drain_s`, the time that calls have. `exit_now` ends the process."""

    def __init__(self, exit_now: Callable[[int], object] = os._exit) -> None:
        self._exit_now = exit_now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit = ExitLimit(exit_now, lambda: _tasks_of(self._loop))
        self._n_signals = 0
        self._before: dict[signal.Signals, Any] = {}
        self._call_soon: Callable[..., object] = lambda work, *arguments: work(*arguments)
        self.end_calls_now: Callable[[], object] = lambda: None
        self.drain_s = 0.0

    def attach(self, loop: asyncio.AbstractEventLoop, cancel: Callable[[], object]) -> None:
        """Handle the signals from now on; the first calls `cancel` in the loop. Only in the main thread."""
        self._loop, self._call_soon = loop, loop.call_soon_threadsafe
        self._limit.start()
        for number in SIGNALS:
            self._before[number] = signal.signal(number, lambda received, _: self.handle(signal.Signals(received), cancel))

    def closed(self) -> None:
        """Everything is closed: after a stop signal the process has `EXIT_S` more."""
        if self._n_signals:
            self._limit.allow(EXIT_S, "everything is closed, but a task or a thread does not end", 0)

    def detach(self) -> None:
        """Leave the signals to those who handled them before, and lift the limit: the program goes on."""
        self._limit.allow(inf)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def handle(self, number: signal.Signals, cancel: Callable[[], object]) -> None:
        """Handle one signal. It may interrupt anything, so it neither logs nor takes locks itself."""
        self._n_signals += 1
        match self._n_signals:
            case 1:
                self._limit.allow(self.drain_s + STOP_S, TOO_LONG)
                self._call_soon(self._stop, number.name, cancel)
            case 2:
                self._limit.allow(HURRIED_S, TOO_LONG)
                self._call_soon(self._hurry, number.name)
            case _:
                with suppress(OSError):
                    os.write(2, b"asked to stop a third time: exiting at once\n")
                self._exit_now(EXIT_CODE)

    @staticmethod
    def _stop(name: str, cancel: Callable[[], object]) -> None:
        log.info("asked to stop", extra={"signal": name, "more": "send it again to end calls now, a third time to exit at once"})
        cancel()

    def _hurry(self, name: str) -> None:
        log.warning("asked to stop again: ending calls now", extra={"signal": name, "at_most_s": HURRIED_S})
        self.end_calls_now()
