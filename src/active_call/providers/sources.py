"""What all iterators of adapters share: how they are closed, and how an engine is warmed. No vendor is known here."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterable
from typing import Any

from active_call.base.errors import ActiveCallError

logger = logging.getLogger(__name__)


async def close_source(source: Any) -> None:
    """Abandon the rest of what an iterator gives, now and not when it happens to be collected."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


async def warm(engine: object) -> None:
    """Let `engine` load what it loads at first use, where it can be told to."""
    load = getattr(engine, "warm", None)
    if load is not None:
        await load()


async def connect_ahead(engine: object) -> None:
    """Let `engine` have a connection at hand for what is asked next, where it keeps any. Failures are told by what is asked."""
    connect = getattr(engine, "connect_ahead", None)
    if connect is not None:
        await connect()


class EngineLoader:
    """Lets engines load in the background, each once, all at the same time."""

    def __init__(self) -> None:
        self.loaded: weakref.WeakSet[object] = weakref.WeakSet()
        """Those that have loaded, or are about to."""
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, engines: Iterable[object]) -> None:
        """Begin with those of `engines` that have not loaded. Must be called on the loop."""
        for engine in engines:
            if engine not in self.loaded:
                self.loaded.add(engine)
                task = asyncio.get_running_loop().create_task(_load(engine), name="engine loads")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what loads still."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _load(engine: object) -> None:
    try:
        await warm(engine)
    except ActiveCallError as error:
        logger.warning("engine could not be loaded", extra={"engine": getattr(engine, "name", type(engine).__name__), "reason": str(error)})
