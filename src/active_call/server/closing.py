"""The end of a server's parts: each is closed within its time, and all of them within one, so that no part can hold up the stop.

Parts enter with the functions that close them, and are closed one after the other. A part that does not close in time is logged and left;
the process ends without it. `hurry` shortens all times: a second stop signal has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

log = logging.getLogger("active_call.server")

ALL_S: Final = 15.0
"""The time for all parts together, except the vital one."""
LEAST_S: Final = 0.5
"""The time for each part after that."""
VITAL_S: Final = 17.0
"""The time for the records, which take up to 16 s if the database and the sink hang. What they cannot write stays on disk."""
HURRIED_S: Final = 0.2
HURRIED_VITAL_S: Final = 1.5
"""The same after `hurry`."""
BACKGROUND_S: Final = 2.0
"""The time in which a cancelled task of the server must end."""


class PartsClosing:
    """See the module. Used in one event loop."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        """When the time for all parts is over; None: none has begun to close."""
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Shorten the times of the parts that are being closed, and of all others."""
        self._hurried.set()

    async def close(self, name: str, close: Callable[[], Awaitable[object]], *, is_vital: bool = False) -> None:
        """Close one part within its time; an error is logged and does not prevent closing the others."""
        closing, loop = asyncio.ensure_future(close()), asyncio.get_running_loop()
        hurried = loop.create_task(self._hurried.wait())
        began, cancelled = loop.time(), None
        while not closing.done() and (left_s := self._until(began, is_vital=is_vital) - loop.time()) > 0:
            try:
                waits = {closing} if hurried.done() else {closing, hurried}
                await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError as stop:  # a stop signal while a failed start is undone: finish that first
                cancelled = stop
        hurried.cancel()
        if not closing.done():
            closing.cancel()
            log.error("part does not close; the stop goes on without it", extra={"part": name, "waited_s": round(loop.time() - began, 1)})
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            log.error("part could not be closed", extra={"part": name}, exc_info=error)
        if cancelled is not None:
            raise cancelled

    def _until(self, began: float, *, is_vital: bool) -> float:
        """When a part that began to close at `began` has had its time."""
        if self._hurried.is_set():
            return began + (HURRIED_VITAL_S if is_vital else HURRIED_S)
        if is_vital:
            return began + VITAL_S
        if self._deadline is None:
            self._deadline = began + ALL_S
        return max(self._deadline, began + LEAST_S)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run `work` beside the block, and cancel it at the end."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=BACKGROUND_S)
        if not task.done():
            log.error("a task of the server does not end", extra={"task": task.get_coro().__qualname__})  # type: ignore[union-attr]
