"""Shared by all iterators of adapters: closing an iterator, and warming an engine. Knows no vendor."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterable
from typing import Any

from active_call.base.errors import ActiveCallError

logger = logging.getLogger(__name__)


async def close_source(source: Any) -> None:
    """Close an iterator now, instead of leaving it to the garbage collector."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


async def warm(engine: object) -> None:
    """Let `engine` load its models, if it can do so before first use."""
    load = getattr(engine, "warm", None)
    if load is not None:
        await load()


async def connect_ahead(engine: object) -> None:
    """Let `engine` open a connection for the next request, if it keeps connections. A failure shows in the next request."""
    connect = getattr(engine, "connect_ahead", None)
    if connect is not None:
        await connect()


class EngineLoader:
    """Loads engines in the background, each once, all at the same time."""

    def __init__(self) -> None:
        self.loaded: weakref.WeakSet[object] = weakref.WeakSet()
        """Engines that are loaded or loading."""
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, engines: Iterable[object]) -> None:
        """Start loading those of `engines` that are not loaded. Must be called on the loop."""
        for engine in engines:
            if engine not in self.loaded:
                self.loaded.add(engine)
                task = asyncio.get_running_loop().create_task(_load(engine), name="engine loads")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is still loading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _load(engine: object) -> None:
    try:
        await warm(engine)
    except ActiveCallError as error:
        logger.warning("engine could not be loaded", extra={"engine": getattr(engine, "name", type(engine).__name__), "reason": str(error)})
