"""One stretch of speech in the making, which any number of listeners follow from its beginning.

Chunks of sound enter from a synthesiser, the same chunks leave to every listener. Who keeps what is whole is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from active_call.base.errors import ProviderError


class SpeechRendition:
    """A task fills `chunks`, listeners follow. `is_whole` once the synthesiser has come to its end; without listeners it is abandoned."""

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
            await close_source(source)


async def close_source(source: AsyncIterator[bytes]) -> None:
    """Abandon the rest of what a synthesiser makes, now and not when its iterator happens to be collected."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()
