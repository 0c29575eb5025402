"""A sound that is being decoded, or is complete: a growing file of samples with any number of readers.

Sound is appended at the end; readers get pieces. Only the pieces being read are in memory. Knows no source and no cache.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO, Final

from active_call.base.errors import MediaError
from active_call.base.pcm import BYTES_PER_SAMPLE, samples_in
from active_call.store.audio_cache import DATA_OFFSET

PIECE_MS: Final = 500
"""Maximum length of a piece during decoding: playback starts soon."""
BLOCK_MS: Final = 2000
"""Maximum length of a piece of a decoded sound: the amount that a play requests at once. A piece is one message to the media process."""
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)


class Rendition:
    """One sound, s16le mono at `rate_hz`. Its file is closed with its last reader once it is complete or failed.

    `on_unread` is called when the last reader leaves before that.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.on_unread: Callable[[], None] = lambda: None
        self._piece_bytes = samples_in(PIECE_MS, rate_hz) * BYTES_PER_SAMPLE
        self._block_bytes = samples_in(BLOCK_MS, rate_hz) * BYTES_PER_SAMPLE
        self._file: BinaryIO | None = None
        self._n_bytes = 0
        self._is_over = False
        self._error: MediaError | None = None
        self._n_readers = 0
        self._changed = asyncio.Event()

    @property
    def is_begun(self) -> bool:
        """Whether it has any sound yet."""
        return self._n_bytes > 0

    async def pieces(self, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        """The sound from its beginning; with `repeat` in a loop, without gaps. Raises MediaError if it fails, also part-way.

        The first step must be taken in the same turn of the loop in which the rendition was found.
        """
        self._n_readers += 1
        position = 0
        try:
            while await self._reaches_beyond(position) or (repeat and self._n_bytes):
                if position == self._n_bytes:
                    position = 0
                block = await self._read(position)
                position += len(block)
                yield block
        finally:
            self._n_readers -= 1
            self._let_go()

    async def ended(self) -> None:
        """Wait until it is complete. Raises MediaError if it failed. Must be awaited under the same rule as `pieces`."""
        self._n_readers += 1
        try:
            while not self._is_over:
                await self._changed.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._n_readers -= 1
            self._let_go()

    async def _reaches_beyond(self, position: int) -> bool:
        """Wait until there is sound after `position`, or it is known that there is none."""
        while self._n_bytes <= position and not self._is_over:
            await self._changed.wait()
        if self._n_bytes <= position and self._error is not None:
            raise self._error
        return self._n_bytes > position

    async def _read(self, position: int) -> bytes:
        assert self._file is not None  # noqa: S101 (there are bytes)
        n_bytes = min(self._n_bytes - position, self._block_bytes if self._is_over else self._piece_bytes)
        pcm = _read_from_memory(self._file.fileno(), n_bytes, DATA_OFFSET + position)
        if not pcm:
            pcm = await asyncio.to_thread(os.pread, self._file.fileno(), n_bytes, DATA_OFFSET + position)
        if not pcm:
            raise MediaError("a sound in the cache was cut short")
        return pcm

    def grow(self, file: BinaryIO, n_bytes: int) -> None:
        """`file` holds `n_bytes` of sound now, after `DATA_OFFSET`. The rendition takes over the file."""
        self._file = file
        self._n_bytes = n_bytes
        self._wake()

    def end(self, error: MediaError | None = None) -> None:
        """Mark it as complete or failed."""
        self._is_over = True
        self._error = error
        self._wake()
        self._let_go()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _let_go(self) -> None:
        if self._n_readers:
            return
        if not self._is_over:
            self.on_unread()
        elif self._file is not None:
            self._file.close()


def _read_from_memory(descriptor: int, n_bytes: int, offset: int) -> bytes:
    """Read whole samples from the kernel's page cache; empty if the read would wait for the disk, or if the kernel does not support this.

    A thread costs twenty times as much as reading cached pages (preadv2(2), RWF_NOWAIT).
    """
    if _NOWAIT is None:
        return b""
    buffer = bytearray(n_bytes)
    try:
        n_read = os.preadv(descriptor, (buffer,), offset, _NOWAIT)
    except OSError:
        return b""
    return bytes(memoryview(buffer)[: n_read - n_read % BYTES_PER_SAMPLE])
