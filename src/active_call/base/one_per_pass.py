"""Limits how many costly steps the event loop runs in one pass, so that a wave of them does not keep the loop from its sockets.

Tasks enter; they leave in their order, one in each pass of the loop, more if many wait (`SHARE` of them). Between two passes the loop reads
its sockets and runs what else is due. A task that comes alone continues at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

SHARE: Final = 4
"""Every fourth waiting task continues in a pass: passes stay short, and a long queue takes fewer passes than it has tasks."""


class OnePerPass:
    """A queue for the next costly step. It belongs to the loop in which `turn` is awaited."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        """A task has continued in this pass, or others wait."""

    @property
    def n_waiting(self) -> int:
        """How many tasks wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """Return when it is the caller's turn. Its next step should be short."""
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
