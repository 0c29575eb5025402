"""Limits the number of costly steps per iteration of the event loop, so that a burst of them does not delay socket reads.

Tasks enter and continue in FIFO order: one per iteration, or one in `SHARE` of the waiting tasks if there are many. Between iterations the
loop reads its sockets and runs other tasks. A single task continues immediately. With `is_held`, nobody continues after an iteration that
used much CPU time: tasks that have continued finish first. If all ran at the same time, each would take as long as all of them together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Final

SHARE: Final = 4
"""One in four waiting tasks continues per iteration: iterations stay short, and a long queue needs fewer iterations than it has tasks."""

BUSY_S: Final = 0.004
"""CPU time of an iteration with other costly steps; one step takes 1 to 3 ms."""
MAX_HELD: Final = 8
"""Iterations in a row after which nobody continues, however long they take."""


class OnePerPass:
    """A queue of tasks before a costly step. It belongs to the loop in which `turn` is awaited.

    `before_step` is called before each step of a task that has waited: several may continue in one iteration.
    """

    def __init__(
        self, before_step: Callable[[], None] = lambda: None, *, is_held: bool = False, cpu_s: Callable[[], float] = thread_time
    ) -> None:
        self._before_step = before_step
        self._is_held = is_held
        self._cpu_s = cpu_s
        self._used_s = 0.0
        """CPU time of the thread at the last iteration."""
        self._n_held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        """A task has continued in this iteration, or other tasks wait."""

    @property
    def n_waiting(self) -> int:
        """The number of waiting tasks."""
        return len(self._waiting)

    async def turn(self) -> None:
        """Wait for the calling task's turn. Its next step should be short."""
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            self._used_s = self._cpu_s()
            loop.call_soon(self._next_pass, loop)
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter
        self._before_step()

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_taken = bool(self._waiting)
        if not self._is_taken:
            return
        if self._is_busy() and self._n_held < MAX_HELD:
            self._n_held += 1
            loop.call_soon(self._next_pass, loop)
            return
        self._n_held = 0
        for _ in range(1 + len(self._waiting) // SHARE):
            self._release_one()
        loop.call_soon(self._next_pass, loop)

    def _is_busy(self) -> bool:
        """Whether other steps have used much CPU time since the last iteration."""
        if not self._is_held:
            return False
        before_s, self._used_s = self._used_s, self._cpu_s()
        return self._used_s - before_s > BUSY_S

    def _release_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
