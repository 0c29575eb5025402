"""Lets one waiter go on in each pass of the event loop, so that a wave of costly steps does not keep the loop from its sockets.

Tasks enter; they leave one by one, in the order in which they came. Between two of them the loop looks at its sockets and runs what else is
due. A waiter that comes alone goes on at once.
"""

from __future__ import annotations

import asyncio
from collections import deque


class OnePerPass:
    """A queue for the next costly step. It belongs to the loop in which `turn` is awaited."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        """Somebody has gone on in this pass, or others wait."""

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """Return when it is the caller's turn; what it does next should not take long before it waits again."""
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._next_pass, loop)
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                loop.call_soon(self._next_pass, loop)
                return
        self._is_taken = False
