"""Threads for the plain functions of one call's tools.

A function enters, its future leaves. A thread cannot be stopped, and a function may never return: so the threads are daemons, which hold up
neither the call nor the end of the program (those of `concurrent.futures` are joined at exit), and their number is limited in the process.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final

MAX_THREADS: Final = 4
"""Plain functions that run at once for one telephone call; others wait within their time limit."""
MAX_THREADS_OF_ALL: Final = 256
"""The same for all calls. Functions that never return keep their threads until the program ends."""
PREFIX: Final = "tool "
TOO_MANY: Final = f"{MAX_THREADS_OF_ALL} functions of tools run already; those that never return need a restart of the server"


class ToolThreads(Executor):
    """At most `MAX_THREADS` threads, created when needed."""

    def __init__(self, name: str = "") -> None:
        self._name = f"{PREFIX}{name}"
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running: dict[Future[Any], int] = {}
        """The ident of the thread of each function."""
        self._n_threads = 0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run `function` in a thread. Raises RuntimeError if there can be no more threads."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, lambda: function(*arguments, **named)))
            needs_thread = self._n_threads < MAX_THREADS
            self._n_threads += needs_thread
        if needs_thread:
            try:
                if sum(one.name.startswith(PREFIX) for one in threading.enumerate()) >= MAX_THREADS_OF_ALL:
                    raise RuntimeError(TOO_MANY)
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            except RuntimeError:
                with self._lock:
                    self._n_threads -= 1
                    self._waiting = deque(one for one in self._waiting if one[0] is not future)
                raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Drop what has not begun. What runs is not waited for."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            future.cancel()

    def places(self) -> list[str]:
        """Where each running function is: file, line and name."""
        frames = sys._current_frames()
        with self._lock:
            found = [frames.get(ident) for ident in self._running.values()]
        return [f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" for frame in found if frame is not None]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._n_threads -= 1
                    return
                future, work = self._waiting.popleft()
                self._running[future] = threading.get_ident()
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is the function's and not the thread's
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            with self._lock:
                del self._running[future]
            del future, work
