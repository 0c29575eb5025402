"""Speech kept on disk, under a key from the user or under the key derived from everything that shapes it.

A key and a synthesiser enter; sound leaves, from the sound cache or while it is synthesised; complete sound is cached. A user's key
identifies the sound regardless of the text. Knows no call.

The cache holds a sound at the synthesiser's own rate. Its facts are that rate and, for prepared sound, the derived key (`Voice.key_of`).
A look-up by text requires that fact, so a user's key that looks like such a hash is never mistaken for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from msgspec import Struct

from active_call.base.errors import MediaError
from active_call.base.pcm import BYTES_PER_SAMPLE, samples_in
from active_call.providers.base import TextToSpeech, speech_of
from active_call.providers.speech.speech_rendition import SpeechRendition
from active_call.store.audio_cache import AudioCache

PIECE_MS: Final = 500
LOOK_UP_S: Final = 0.5
"""Reading a sound takes milliseconds; a call should not wait longer for a disk that stalls."""
REST_S: Final = 10.0

logger = logging.getLogger("active_call.sounds")

RunInThread = Callable[..., Awaitable[Any]]
"""See `asyncio.to_thread`."""


class _CacheEntry(Struct, frozen=True):
    pcm: bytes
    rate_hz: int
    made_of: str | None


class _Making(Struct, frozen=True):
    """A sound being synthesised or written."""

    rendition: SpeechRendition
    rate_hz: int


class SpeechLibrary:
    """The cached speech of a server, in a cache that others may use as well. `close` it at the end, before the synthesisers."""

    def __init__(self, cache: AudioCache, run_in_thread: RunInThread = asyncio.to_thread) -> None:
        self._cache = cache
        self._run = run_in_thread
        self._making: dict[str, _Making] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._ask_again_at = 0.0

    async def pieces(
        self, key: str, synthesiser: TextToSpeech, text: str, *, speaker: str | None = None, speed: float | None = None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """The sound named `key`, s16le mono with its rate: from the cache, else from `synthesiser` for `text`, as it comes.

        Requests for the same key meanwhile share the sound. Complete sound is cached; sound that failed, or whose readers have all left, is
        not. Raises the synthesiser's errors.
        """
        if key not in self._making:
            kept = await self._look_up(key)
            if kept is not None:
                async with aclosing(_in_pieces(kept)) as pieces:
                    async for pcm in pieces:
                        yield pcm, kept.rate_hz
                return
        making = self._making.get(key)
        if making is None:
            rendition = SpeechRendition(speech_of(synthesiser, text, speaker=speaker, speed=speed))
            making = self._make(key, rendition, synthesiser.capabilities.rate_hz)
        try:
            async with aclosing(making.rendition.listen(synthesiser.name)) as chunks:
                async for chunk in chunks:
                    yield chunk.pcm, making.rate_hz
        finally:
            if making.rendition.is_abandoned:
                self._forget(key, making)

    async def prepared(self, key: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        """The sound stored as `key` because the key is derived from it; None if there is none at `rate_hz`."""
        kept = await self._look_up(key)
        if kept is not None and kept.made_of == key and kept.rate_hz == rate_hz:
            async with aclosing(_in_pieces(kept)) as pieces:
                async for pcm in pieces:
                    yield pcm

    async def is_kept(self, key: str) -> bool:
        """Whether the cache has sound for that key; False if the disk does not answer."""
        loop = asyncio.get_running_loop()
        making = self._making.get(key)
        if making is not None or loop.time() < self._ask_again_at:
            return making is not None and making.rendition.task.done()
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return bool(await self._run(self._cache.path_of(_name_of(key)).is_file))
        except TimeoutError:
            return False

    async def n_bytes_kept(self, key: str, made_of: str) -> int | None:
        """The PCM bytes stored as `key`; None if there are none, or they are made of something else. Counts as use."""
        kept = await self._run(self._read, key)
        return len(kept.pcm) if kept is not None and kept.made_of == made_of else None

    async def keep(self, key: str, chunks: Sequence[bytes], rate_hz: int, made_of: str) -> None:
        """Store a complete sound, replacing the earlier one of `key`. Raises MediaError if it cannot be stored."""
        self._making.pop(key, None)  # sound in progress under that name is played but not stored
        try:
            is_kept = await self._run(self._write, key, chunks, {"rate_hz": rate_hz, "made_of": made_of})
        except OSError as error:
            raise MediaError(f"the sound cannot be kept: {error.strerror or error}") from error
        if not is_kept:
            raise MediaError("the sound cannot be kept: the folder of sounds (media_cache_path) cannot be written to")

    async def close(self) -> None:
        """Stop syntheses in progress, and finish writing complete sounds."""
        tasks = [making.rendition.task for making in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _look_up(self, key: str) -> _CacheEntry | None:
        """The cached sound of `key`. A disk that does not answer counts as empty and is not asked again for a while, so that speech is not
        delayed.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._ask_again_at:
            return None
        try:
            async with asyncio.timeout(LOOK_UP_S):
                kept: _CacheEntry | None = await self._run(self._read, key)
        except TimeoutError:
            self._ask_again_at = loop.time() + REST_S
            logger.warning("kept speech is not looked for, the disk does not answer", extra={"seconds": REST_S})
            return None
        return kept

    # -- syntheses in progress

    def _make(self, key: str, rendition: SpeechRendition, rate_hz: int) -> _Making:
        making = self._making[key] = _Making(rendition, rate_hz)
        rendition.task.add_done_callback(lambda _: self._handle_end(key, making))
        return making

    def _handle_end(self, key: str, making: _Making) -> None:
        """The synthesis has completed or failed. The sound is found here until it is on disk."""
        if self._making.get(key) is not making:
            return
        if not making.rendition.may_be_kept:
            self._forget(key, making)
            return
        task = asyncio.create_task(self._keep_made(key, making), name="speech keeping")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _keep_made(self, key: str, making: _Making) -> None:
        try:
            chunks = [chunk.pcm for chunk in making.rendition.chunks]
            await self._run(self._write, key, chunks, {"rate_hz": making.rate_hz})
        except OSError as error:
            logger.warning("speech could not be kept", extra={"reason": str(error)})
        finally:
            self._forget(key, making)

    def _forget(self, key: str, making: _Making) -> None:
        if self._making.get(key) is making:
            del self._making[key]

    # -- in a thread

    def _read(self, key: str) -> _CacheEntry | None:
        cached = self._cache.open(_name_of(key))
        if cached is None:
            return None
        try:
            with cached.file as file:
                pcm = file.read(cached.n_bytes)
        except OSError as error:
            logger.warning("kept speech could not be read", extra={"path": str(cached.path), "reason": str(error)})
            return None
        rate_hz = cached.facts.get("rate_hz")
        if not isinstance(rate_hz, int) or rate_hz <= 0 or not len(pcm) == cached.n_bytes > 0:
            return None
        return _CacheEntry(pcm, rate_hz, cached.facts.get("made_of"))

    def _write(self, key: str, chunks: Sequence[bytes], facts: dict[str, Any]) -> bool:
        """Returns whether it is in the cache now. Raises OSError."""
        name = _name_of(key)
        part = self._cache.begin(name)
        try:
            part.append(b"".join(chunks))
            return part.keep(facts)
        finally:
            part.discard()
            part.file.close()


def _name_of(key: str) -> str:
    """The name in the cache, which also holds files and URLs; their names begin with their rate."""
    return f"speech {key}"


async def _in_pieces(kept: _CacheEntry) -> AsyncGenerator[bytes, None]:
    """Half a second at a time, yielding to other tasks in between."""
    piece_bytes = samples_in(PIECE_MS, kept.rate_hz) * BYTES_PER_SAMPLE
    for start in range(0, len(kept.pcm), piece_bytes):
        yield kept.pcm[start : start + piece_bytes]
        await asyncio.sleep(0)
