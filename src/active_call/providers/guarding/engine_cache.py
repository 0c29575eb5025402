"""Engine instances by option: the most recently used ones, and all others that a call still holds.

An option's key and a factory enter; the instance leaves, the same one for the same key as long as it is kept or held. An instance that is
neither recent nor held is closed. A call holds its instances, so an instance in use is never closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """An object that can be closed when no call uses it."""

    async def close(self) -> None: ...


E = TypeVar("E", bound=Closable)

logger = logging.getLogger(__name__)

MAX_IDLE = 32
"""How many of each kind are kept. A synthesiser keeps up to 32 MiB of sentences, a language model a pool of connections."""
CLOSE_S = 5.0


class EngineCache(Generic[E]):
    """Instances of one kind. `close_of` returns a function that closes the engine of an instance, without a reference to the instance."""

    def __init__(self, close_of: Callable[[E], Callable[[], Awaitable[object]]], max_idle: int = MAX_IDLE) -> None:
        self._close_of = close_of
        self._max_idle = max_idle
        self._recent: OrderedDict[bytes, E] = OrderedDict()
        self._held: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()
        """All live instances."""
        self._closing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes, make: Callable[[], E]) -> E:
        """The instance of `key`, created if there is none."""
        engine: E | None = self._held.get(key)
        if engine is None:
            engine = make()
            self._loop = self._loop or _running_loop()
            self._held[key] = engine
            weakref.finalize(engine, self._close_later, self._close_of(engine)).atexit = False
        self._recent[key] = engine
        self._recent.move_to_end(key)
        if len(self._recent) > self._max_idle:
            self._recent.popitem(last=False)
        return engine

    def all(self) -> list[E]:
        return list(self._held.values())

    async def close(self) -> None:
        """Close all of them, and wait for those that are closing."""
        engines = self.all()
        self._is_closed = True
        self._recent.clear()
        self._held.clear()
        for engine in engines:
            await engine.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_later(self, close: Callable[[], Awaitable[object]]) -> None:
        """The instance has no references any more. The garbage collector may call this in any thread, also after the loop is closed."""
        if self._loop is not None and not self._loop.is_closed() and not self._is_closed:
            with contextlib.suppress(RuntimeError):  # already closed
                self._loop.call_soon_threadsafe(self._begin_closing, close)

    def _begin_closing(self, close: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.get_running_loop().create_task(_close(close), name="engine's end")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The running loop, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _close(close: Callable[[], Awaitable[object]]) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await close()
    except Exception as error:  # noqa: BLE001 - the provider wall
        logger.warning("idle engine could not be closed", extra={"reason": f"{type(error).__name__}: {error}"})
