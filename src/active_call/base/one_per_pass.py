"""Limits the number of costly steps per iteration of the event loop, so that a burst of them does not delay socket reads.

Tasks enter and continue in FIFO order: one per iteration, or one in `SHARE` of the waiting tasks if there are many. Between iterations the
loop reads its sockets and runs other tasks. A single task continues immediately.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

SHARE: Final = 4
"""One in four waiting tasks continues per iteration: iterations stay short, and a long queue needs fewer iterations than it has tasks."""


class OnePerPass:
    """A queue of tasks before a costly step. It belongs to the loop in which `turn` is awaited."""

    def __init__(self) -> None:
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
            loop.call_soon(self._next_pass, loop)
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_taken = bool(self._waiting)
        if not self._is_taken:
            return
        for _ in range(1 + len(self._waiting) // SHARE):
            self._release_one()
        loop.call_soon(self._next_pass, loop)

    def _release_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
