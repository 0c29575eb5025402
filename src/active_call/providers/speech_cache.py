"""Sentences already spoken, kept in memory, so that a greeting costs nothing after its first time.

Text, speaker and speed enter; sound leaves, from memory or from the synthesiser behind. Callers who ask for the same sentence while it is
being made all hear the one rendition. Bounded by bytes, least recently used first out. Knows no vendor and no file.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from active_call.base.errors import ProviderError
from active_call.providers.base import Synthesiser

DEFAULT_LIMIT_BYTES = 32 * 1024 * 1024
"""12 minutes at 22 050 Hz."""

Key = tuple[str, str | None, float | None]


class CachedSynthesiser:
    """A synthesiser whose sentences are remembered. `hits` and `misses` count for metrics."""

    def __init__(self, inner: Synthesiser, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.name = inner.name
        self.rate_hz = inner.rate_hz
        self.hits = 0
        self.misses = 0
        self.size_bytes = 0
        self._inner = inner
        self._limit_bytes = limit_bytes
        self._done: OrderedDict[Key, tuple[bytes, ...]] = OrderedDict()
        self._making: dict[Key, _Rendition] = {}

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        key = (text, speaker, speed)
        kept = self._done.get(key)
        if kept is not None:
            self.hits += 1
            self._done.move_to_end(key)
            for chunk in kept:
                yield chunk
            return
        rendition = self._making.get(key)
        if rendition is None:
            self.misses += 1
            rendition = self._making[key] = _Rendition(self._inner.synthesise(text, speaker=speaker, speed=speed))
            rendition.task.add_done_callback(lambda _: self._keep(key, rendition))
        else:
            self.hits += 1
        try:
            async with aclosing(rendition.listen(self.name)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            if rendition.is_abandoned and self._making.get(key) is rendition:
                del self._making[key]

    async def warm(self) -> None:
        """Load what the engine loads at first use."""
        warm = getattr(self._inner, "warm", None)
        if warm is not None:
            await warm()

    async def close(self) -> None:
        """Stop what is being made, forget everything and close the engine behind."""
        tasks = [rendition.task for rendition in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._done.clear()
        self.size_bytes = 0
        await self._inner.close()

    def _keep(self, key: Key, rendition: _Rendition) -> None:
        """A rendition has ended: keep it if it is whole and fits."""
        if self._making.get(key) is rendition:
            del self._making[key]
        size = sum(map(len, rendition.chunks))
        if not rendition.is_whole or size > self._limit_bytes // 4 or key in self._done:
            return
        self._done[key] = tuple(rendition.chunks)
        self.size_bytes += size
        while self.size_bytes > self._limit_bytes:
            _, oldest = self._done.popitem(last=False)
            self.size_bytes -= sum(map(len, oldest))


class _Rendition:
    """One sentence in the making: a task fills `chunks`, any number of listeners follow. Without listeners it is abandoned."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self.chunks: list[bytes] = []
        self.is_whole = False
        self.is_abandoned = False
        self._listeners = 0
        self._progress = asyncio.Event()
        self.task = asyncio.create_task(self._make(source), name="speech rendition")
        self.task.add_done_callback(lambda _: self._progress.set())

    async def listen(self, provider: str) -> AsyncGenerator[bytes, None]:
        """Yield all chunks from the first. Raises what the synthesiser raised, and ProviderError when it was closed meanwhile."""
        self._listeners += 1
        position = 0
        try:
            while True:
                while position < len(self.chunks):
                    position += 1
                    yield self.chunks[position - 1]
                if self.task.done():
                    break
                self._progress.clear()
                await self._progress.wait()
            if self.task.cancelled():
                raise ProviderError(provider, "closed while speaking")
            self.task.result()
        finally:
            self._listeners -= 1
            if self._listeners == 0 and not self.task.done():
                self.is_abandoned = True
                self.task.cancel()

    async def _make(self, source: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in source:
                self.chunks.append(chunk)
                self._progress.set()
            self.is_whole = True
        finally:
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                await aclose()
