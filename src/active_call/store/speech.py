"""Speech that is kept on disk, under the key that a user gave it or under the one that follows from what it is made of.

A key and a synthesiser enter; sound leaves, from the cache of sounds or as it is made, and what was made to its end is kept. A key that a
user gave names the sound by itself, whatever the text. Knows no call.

In the cache a sound lies at the synthesiser's own rate. Its facts are that rate and, where it was prepared, what it is made of
(`Voice.key_of`): only so it is found by its text, and a user's key that looks like such a hash deceives nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from active_call.base.errors import MediaError
from active_call.base.pcm import BYTES_PER_SAMPLE, samples_in
from active_call.providers.base import TextToSpeech, speech_of
from active_call.providers.speech.speech_rendition import SpeechRendition
from active_call.store.audio_cache import AudioCache

PIECE_MS: Final = 500
LOOK_UP_S: Final = 0.5
"""Reading a sound takes milliseconds; nobody in a call should wait longer for a disk that stalls."""
REST_S: Final = 10.0

logger = logging.getLogger("active_call.sounds")

RunInThread = Callable[..., Awaitable[Any]]
"""As `asyncio.to_thread`."""


@dataclass(frozen=True, slots=True)
class _Kept:
    pcm: bytes
    rate_hz: int
    made_of: str | None


@dataclass(frozen=True, slots=True)
class _Making:
    """A sound that is being made, or written down."""

    rendition: SpeechRendition
    rate_hz: int


class SpeechLibrary:
    """The kept speech of a server, in a cache that others may use too. `close` it at the end, before the synthesisers."""

    def __init__(self, cache: AudioCache, run_in_thread: RunInThread = asyncio.to_thread) -> None:
        self._cache = cache
        self._run = run_in_thread
        self._making: dict[str, _Making] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._ask_again_at = 0.0

    async def pieces(
        self, key: str, synthesiser: TextToSpeech, text: str, *, speaker: str | None = None, speed: float | None = None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """The sound named `key`, s16le mono with its rate: what is kept, else what `synthesiser` makes of `text`, as it comes.

        Whoever asks for the same key meanwhile hears the same sound. It is kept when it is whole; one that failed, or that everybody has
        left before, is not. Raises what the synthesiser raises.
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
        """The sound that was kept as `key` because this is what it is made of; nothing where there is none at `rate_hz`."""
        kept = await self._look_up(key)
        if kept is not None and kept.made_of == key and kept.rate_hz == rate_hz:
            async with aclosing(_in_pieces(kept)) as pieces:
                async for pcm in pieces:
                    yield pcm

    async def is_kept(self, key: str) -> bool:
        """Whether there is sound of that key already; not, where the disk does not answer."""
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
        """How many bytes of PCM are kept as `key`; None where it is not kept, or made of something else. It counts as used."""
        kept = await self._run(self._read, key)
        return len(kept.pcm) if kept is not None and kept.made_of == made_of else None

    async def keep(self, key: str, chunks: Sequence[bytes], rate_hz: int, made_of: str) -> None:
        """Keep a whole sound, in place of what `key` has named before. Raises MediaError when it cannot be kept."""
        self._making.pop(key, None)  # what is being made under that name is heard, and not kept
        try:
            is_kept = await self._run(self._write, key, chunks, {"rate_hz": rate_hz, "made_of": made_of})
        except OSError as error:
            raise MediaError(f"the sound cannot be kept: {error.strerror or error}") from error
        if not is_kept:
            raise MediaError("the sound cannot be kept: the folder of sounds (media_cache_path) cannot be written to")

    async def close(self) -> None:
        """Give up what is being made, and finish writing what is whole."""
        tasks = [making.rendition.task for making in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def _look_up(self, key: str) -> _Kept | None:
        """What is kept as `key`. A disk that does not answer has nothing, and is not asked again for a while: no voice waits for it."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._ask_again_at:
            return None
        try:
            async with asyncio.timeout(LOOK_UP_S):
                kept: _Kept | None = await self._run(self._read, key)
        except TimeoutError:
            self._ask_again_at = loop.time() + REST_S
            logger.warning("kept speech is not looked for, the disk does not answer", extra={"seconds": REST_S})
            return None
        return kept

    # -- what is made

    def _make(self, key: str, rendition: SpeechRendition, rate_hz: int) -> _Making:
        making = self._making[key] = _Making(rendition, rate_hz)
        rendition.task.add_done_callback(lambda _: self._handle_end(key, making))
        return making

    def _handle_end(self, key: str, making: _Making) -> None:
        """It is made, or never will be. Until it lies on disk it is found here."""
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

    def _read(self, key: str) -> _Kept | None:
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
        return _Kept(pcm, rate_hz, cached.facts.get("made_of"))

    def _write(self, key: str, chunks: Sequence[bytes], facts: dict[str, Any]) -> bool:
        """Whether it lies in the cache now. Raises OSError."""
        name = _name_of(key)
        part = self._cache.begin(name)
        try:
            part.append(b"".join(chunks))
            return part.keep(facts)
        finally:
            part.discard()
            part.file.close()


def _name_of(key: str) -> str:
    """The key in the cache, where files and URLs lie too; those begin with their rate."""
    return f"speech {key}"


async def _in_pieces(kept: _Kept) -> AsyncGenerator[bytes, None]:
    """Half a second at a time, with a turn for others between."""
    piece_bytes = samples_in(PIECE_MS, kept.rate_hz) * BYTES_PER_SAMPLE
    for start in range(0, len(kept.pcm), piece_bytes):
        yield kept.pcm[start : start + piece_bytes]
        await asyncio.sleep(0)
