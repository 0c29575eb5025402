"""The end of a task that an object keeps in an attribute."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait until it has ended, however it ends.

    A cancelled task keeps its exception until somebody asks for it, and the traceback keeps the frames of the task. If one of these belongs
    to a method of the object that keeps the task, this is a reference cycle: object and call would wait for the garbage collector.
    """
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with suppress(asyncio.CancelledError):
        task.exception()
