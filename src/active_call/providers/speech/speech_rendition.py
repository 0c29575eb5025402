"""One synthesis in progress, which any number of listeners follow from its beginning.

Chunks enter from a synthesis engine; the same chunks leave to every listener. Knows nothing of the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from active_call.base.errors import ProviderError
from active_call.providers.sources import close_source
from active_call.providers.text_to_speech import SpeechChunk


class SpeechRendition:
    """A task fills `chunks`, listeners follow. `is_whole` is set when the engine finishes. Without listeners the rendition is cancelled."""

    def __init__(self, source: AsyncIterator[SpeechChunk]) -> None:
        self.chunks: list[SpeechChunk] = []
        self.is_whole = False
        self.is_abandoned = False
        self._listeners = 0
        self._progress = asyncio.Event()
        self.task = asyncio.create_task(self._make(source), name="speech rendition")
        self.task.add_done_callback(lambda _: self._progress.set())

    @property
    def may_be_kept(self) -> bool:
        """It is complete, has sound, and the requested engine made all of it."""
        return self.is_whole and any(chunk.pcm for chunk in self.chunks) and not any(chunk.is_substitute for chunk in self.chunks)

    async def listen(self, provider: str) -> AsyncGenerator[SpeechChunk, None]:
        """Yield all chunks from the first. Raises what the engine raised, and ProviderError if it was closed meanwhile."""
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

    async def _make(self, source: AsyncIterator[SpeechChunk]) -> None:
        try:
            async for chunk in source:
                self.chunks.append(chunk)
                self._progress.set()
            self.is_whole = True
        finally:
            await close_source(source)
