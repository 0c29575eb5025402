"""The sounds that calls play: files and URLs, decoded once, kept on disk, and given out piece by piece to any number of calls.

A source and a rate enter; pieces leave while the rest is still on its way, so that a long file over a slow server begins at once. What is
not fresh is asked for again with its validators; when that fails, what is kept is played all the same. Knows no call and no stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx

from active_call.base.errors import MediaError
from active_call.base.world import Clock
from active_call.media.sounds import tones
from active_call.store.audio_cache import AudioCache, CachedSound
from active_call.store.decoding import Decoder
from active_call.store.downloads import MAX_SOURCE_BYTES, Feed, declared_bytes, facts_of, forbids_keeping, requested
from active_call.store.rendition import Rendition
from active_call.store.sound_folders import SoundFolders

_MAX_REMEMBERED: Final = 4096

logger = logging.getLogger("active_call.sounds")


class SoundLibrary:
    """All sounds of a server; relative names are looked for in `folder`, files only in `folders` (without them, in `folder`).

    `close` it at the end. `client` belongs to the caller.
    """

    def __init__(
        self, cache: AudioCache, client: httpx.AsyncClient, clock: Clock, folder: Path, folders: SoundFolders | None = None
    ) -> None:
        self._folders = folders or SoundFolders(folder, {folder})
        self._cache = cache
        self._client = client
        self._clock = clock
        self._folder = folder
        self._decoder = Decoder(cache)
        self._making: dict[str, Rendition] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checked_at: dict[str, float] = {}

    async def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        """The sound of a file or an http(s) URL as s16le mono at `rate_hz`, in pieces of at most half a second, as it comes.

        `tone:busy`, `tone:fr/ringback` and `dtmf:12#` are sounds too (`media.tones`). With `repeat` over and over, without a gap. Raises
        MediaError with the source and the reason.
        """
        tone = tones.tone_of(source)
        if tone is not None:
            for pcm in tones.pieces(tone, rate_hz, repeat=repeat):
                yield pcm
            return
        _, rendition = self._find_or_make(source, rate_hz)
        async with aclosing(rendition.pieces(repeat=repeat)) as pieces:
            async for pcm in pieces:
                yield pcm

    async def whole(self, source: str, rate_hz: int) -> Path:
        """The cache's file with all of the sound (from `DATA_OFFSET` on), for use in another process. Raises MediaError."""
        key, rendition = self._find_or_make(source, rate_hz)
        await rendition.ended()
        path = self._cache.path_of(key)
        if not await self._decoder.run(path.exists):
            raise MediaError(f"{source}: cannot be kept in the cache of sounds, which this use of it needs")
        return path

    async def close(self) -> None:
        """Give up what is being made."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._decoder.close()

    def _find_or_make(self, source: str, rate_hz: int) -> tuple[str, Rendition]:
        is_url = source[:8].lower().startswith(("http://", "https://"))
        name = source if is_url else str(self._path_of(source))
        key = f"{rate_hz} {name}"
        found = self._making.get(key)
        if found is not None:
            return key, found
        rendition = self._making[key] = Rendition(rate_hz)
        work = self._make_from_url(key, name, rendition) if is_url else self._make_from_file(key, Path(name), rendition)
        task = asyncio.create_task(self._make(key, name, rendition, work), name=f"sound {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return key, rendition

    def _path_of(self, source: str) -> Path:
        return self._folder / (unquote(source.removeprefix("file://")) if source.startswith("file://") else source)

    async def _make(self, key: str, name: str, rendition: Rendition, work: Coroutine[Any, Any, None]) -> None:
        error: MediaError | None = MediaError(f"{name}: given up")
        try:
            await work
            error = None
        except MediaError as reason:
            error = reason
        except OSError as reason:
            error = MediaError(f"{name}: {reason.strerror or reason}")
        except ValueError as reason:  # a path with NUL in it, a URL that is none
            error = MediaError(f"{name[:200]!r}: {reason}")
        finally:
            self._forget(key, rendition)
            rendition.end(error)

    def _forget(self, key: str, rendition: Rendition) -> None:
        if self._making.get(key) is rendition:
            del self._making[key]

    # -- files

    async def _make_from_file(self, key: str, path: Path, rendition: Rendition) -> None:
        cached, facts = await self._decoder.run(self._look_up, key, path)
        if cached is not None:
            rendition.grow(cached.file, cached.n_bytes)
            return
        file = await self._decoder.run(lambda: self._folders.open_path(path).open("rb"))
        with file:
            await self._decoder.decode(key, file, str(path), rendition, facts)

    def _look_up(self, key: str, path: Path) -> tuple[CachedSound | None, dict[str, Any]]:
        status = self._folders.open_path(path).stat()
        facts = {"changed_ns": status.st_mtime_ns, "size": status.st_size}
        cached = self._cache.open(key)
        if cached is not None and cached.facts != facts:
            cached.file.close()
            cached = None
        return cached, facts

    # -- URLs

    async def _make_from_url(self, key: str, url: str, rendition: Rendition) -> None:
        cached = await self._decoder.run(self._cache.open, key)
        if cached is None:
            async with requested(self._client, url, {}) as response:
                await self._download(key, url, response, rendition)
            return
        is_used = self._is_fresh(key, cached.facts)
        try:
            if not is_used:
                is_used = await self._still_holds(key, url, cached.facts, rendition)
        except MediaError as error:
            if rendition.is_begun:
                raise
            logger.warning("a sound could not be asked for again, the kept one is played", extra={"url": url, "reason": str(error)})
            is_used = True
        finally:
            if not is_used:
                cached.file.close()
        if is_used:
            rendition.grow(cached.file, cached.n_bytes)

    async def _still_holds(self, key: str, url: str, facts: Mapping[str, Any], rendition: Rendition) -> bool:
        """Ask the server; whether what is kept holds. Else `rendition` has been made anew."""
        async with requested(self._client, url, facts) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                self._note_check(key)
                return True
            await self._download(key, url, response, rendition)
            return False

    async def _download(self, key: str, url: str, response: httpx.Response, rendition: Rendition) -> None:
        feed = Feed()
        if not declared_bytes(response):
            self._make_for_readers_only(key, rendition)
        facts = None if forbids_keeping(response) else facts_of(response)
        decoding = asyncio.ensure_future(self._decoder.decode(key, feed, url, rendition, facts))
        try:
            await _fill(feed, url, response)
        except BaseException as error:
            reason = error if isinstance(error, MediaError) else MediaError(f"{url}: {str(error) or 'given up'}")
            feed.finish(reason, at_once=not isinstance(error, Exception))
            with contextlib.suppress(MediaError, OSError):
                await decoding
            raise
        await decoding
        self._note_check(key)

    def _make_for_readers_only(self, key: str, rendition: Rendition) -> None:
        """The length is unknown, there may be no end: go on only while somebody listens."""
        task = asyncio.current_task()

        def give_up() -> None:
            self._forget(key, rendition)
            if task is not None:
                task.cancel()

        rendition.on_unread = give_up

    def _is_fresh(self, key: str, facts: Mapping[str, Any]) -> bool:
        checked_at = self._checked_at.get(key)
        return checked_at is not None and self._clock.now() - checked_at < facts.get("max_age_s", 0)

    def _note_check(self, key: str) -> None:
        if len(self._checked_at) >= _MAX_REMEMBERED:
            self._checked_at.clear()
        self._checked_at[key] = self._clock.now()


async def _fill(feed: Feed, url: str, response: httpx.Response) -> None:
    """Pass the body on, until its end or until nobody reads it."""
    n_bytes = 0
    async for data in response.aiter_bytes():
        n_bytes += len(data)
        if n_bytes > MAX_SOURCE_BYTES:
            raise MediaError(f"{url}: more than {MAX_SOURCE_BYTES} bytes")
        if not await feed.put(data):
            break
    feed.finish()
