"""Reports what blocks the event loop: an async function of the user's that calls `time.sleep`, a synchronous client of a database.

While the loop is blocked no call gets an answer, and nothing of the loop can say so. So a thread looks whether the loop moves, and logs the
task and the lines in which it stands. The media processes go on meanwhile: callers hear what was already queued, then silence.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Final

log = logging.getLogger("active_call.server")

BEAT_S: Final = 0.5
BLOCKED_S: Final = 2.0
"""Longer than a pass of the garbage collector or the start of a process on a busy machine."""
MAX_FRAMES: Final = 6
WHAT: Final = "every call waits; use an async client, a plain function (it runs in a thread), or asyncio.to_thread"


@asynccontextmanager
async def blocks_reported(blocked_s: float = BLOCKED_S) -> AsyncIterator[None]:
    """Watch the running loop within the block."""
    loop, watch = asyncio.get_running_loop(), _Watch(asyncio.get_running_loop(), threading.get_ident(), blocked_s)
    thread = threading.Thread(target=watch.run, name="blocked loop", daemon=True)
    thread.start()

    async def beat() -> None:
        while True:
            watch.beat_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    beating = loop.create_task(beat(), name="loop watch")
    try:
        yield
    finally:
        watch.stopped.set()
        beating.cancel()


class _Watch:
    """The thread's side. `beat_at` is written by the loop, everything else is the thread's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread_id: int, blocked_s: float) -> None:
        self._loop = loop
        self._thread_id = thread_id
        self._blocked_s = blocked_s
        self.beat_at = time.monotonic()
        self.stopped = threading.Event()

    def run(self) -> None:
        """Watch until `stopped`."""
        blocked_since: float | None = None
        looked_at = time.monotonic()
        while not self.stopped.wait(BEAT_S):
            before, looked_at = looked_at, time.monotonic()
            beat_at = self.beat_at
            if blocked_since is not None and beat_at > blocked_since:
                log.warning("the control process goes on", extra={"blocked_s": round(beat_at - blocked_since, 1)})
                blocked_since = None
            was_stopped = looked_at - before > 2 * BEAT_S  # the whole process did not run, or this thread did not
            if blocked_since is None and not was_stopped and looked_at - beat_at > self._blocked_s:
                blocked_since = beat_at
                self._tell(looked_at - beat_at)

    def _tell(self, since_s: float) -> None:
        task = asyncio.current_task(self._loop)
        extra = {
            "since_s": round(since_s, 1),
            "task": task.get_name() if task is not None else "",
            "at": " < ".join(_places(sys._current_frames().get(self._thread_id))),
            "what": WHAT,
        }
        log.error("the control process is blocked", extra=extra)


def _places(frame: FrameType | None) -> list[str]:
    """The innermost lines of a stack."""
    found: list[str] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return found
