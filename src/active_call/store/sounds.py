"""The sounds that calls play: files and URLs, decoded once, cached on disk, and given piece by piece to any number of calls.

A source and a rate enter; pieces leave while the rest is being loaded, so that a long file from a slow server starts at once. A stale
sound is revalidated; if that fails, the cached sound is played. The call's permission is checked before it gets a sound from the cache:
sound from a host that only some calls may reach is cached separately, and no other call gets it. Knows no call and no stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote

import httpx
from msgspec import Struct

from active_call.base.errors import MediaError
from active_call.base.trust import NO_TRUST, Place, Trust
from active_call.base.world import Clock
from active_call.media.sounds import tones
from active_call.store.audio_cache import AudioCache, CachedSound
from active_call.store.decoding import Decoder
from active_call.store.downloads import (
    MAX_SOURCE_BYTES,
    Feed,
    SourceRefused,
    declared_bytes,
    facts_of,
    forbids_keeping,
    requested,
)
from active_call.store.rendition import Rendition
from active_call.store.sound_folders import SoundFolders

_MAX_REMEMBERED: Final = 4096

logger = logging.getLogger("active_call.sounds")


class ClientsByTrust(Protocol):
    """HTTP clients for URLs that calls name, as `net.outgoing.GuardedClients`."""

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that only a call with that trust may reach."""
        ...

    def shared(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        """The client that may also reach `trusted`."""
        ...


class _Source(Struct, frozen=True):
    """A sound as one call may use it. `name`: the absolute path or the URL; `key`: its name in the cache."""

    name: str
    key: str
    is_url: bool
    trusted: frozenset[Place] = frozenset()
    folders: frozenset[Path] = frozenset()

    @property
    def shared_by(self) -> tuple[str, frozenset[Path]]:
        """Calls with the same value here may share a rendition in progress."""
        return self.key, self.folders


class SoundLibrary:
    """All sounds of a server. Relative names are looked up in `folder`; files must be in `folders` (without them, in `folder`).

    `close` it at the end. The caller owns `client`. With `clients`, URLs of hosts that a call trusts go through these.
    """

    def __init__(
        self,
        cache: AudioCache,
        client: httpx.AsyncClient,
        clock: Clock,
        folder: Path,
        folders: SoundFolders | None = None,
        clients: ClientsByTrust | None = None,
    ) -> None:
        self._folders = folders or SoundFolders(folder, {folder})
        self._clients = clients
        self._cache = cache
        self._client = client
        self._clock = clock
        self._folder = folder
        self._decoder = Decoder(cache)
        self._making: dict[tuple[str, frozenset[Path]], Rendition] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checked_at: dict[str, float] = {}

    async def pieces(self, source: str, rate_hz: int, *, repeat: bool = False, trust: Trust = NO_TRUST) -> AsyncGenerator[bytes, None]:
        """The sound of a file or an http(s) URL as s16le mono at `rate_hz`, in pieces of at most two seconds, as it comes.

        `tone:busy`, `tone:fr/ringback` and `dtmf:12#` are sounds as well (`media.tones`). `repeat` plays in a loop, without gaps. `trust`:
        what the call may use in addition to what every call may. Raises MediaError with the source and the reason.
        """
        tone = tones.tone_of(source)
        if tone is not None:
            for pcm in tones.pieces(tone, rate_hz, repeat=repeat):
                yield pcm
            return
        rendition = self._find_or_make(self._source_of(source, rate_hz, trust), rate_hz)
        async with aclosing(rendition.pieces(repeat=repeat)) as pieces:
            async for pcm in pieces:
                yield pcm

    async def whole(self, source: str, rate_hz: int, *, trust: Trust = NO_TRUST) -> Path:
        """The cache's file with all of the sound (from `DATA_OFFSET` on), for another process. `trust` as in `pieces`.

        Raises MediaError.
        """
        found = self._source_of(source, rate_hz, trust)
        rendition = self._find_or_make(found, rate_hz)
        await rendition.ended()
        path = self._cache.path_of(found.key)
        if not await self._decoder.run(path.exists):
            raise MediaError(f"{source}: cannot be stored in the sound cache, which this use needs")
        return path

    async def close(self) -> None:
        """Stop all decoding."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._decoder.close()

    def _source_of(self, source: str, rate_hz: int, trust: Trust) -> _Source:
        if source[:8].lower().startswith(("http://", "https://")):
            trusted = self._clients.trusted_among([source], trust) if self._clients is not None else frozenset[Place]()
            kind = "trusted url" if trusted else "url"
            return _Source(source, f"{rate_hz} {kind} {source}", is_url=True, trusted=trusted)
        scheme, separator, _ = source.partition("://")
        if separator and scheme.isalnum() and scheme.lower() != "file":
            raise MediaError(f"{source[:200]}: expected a file, or an http or https URL")
        name = str(self._path_of(source))
        return _Source(name, f"{rate_hz} {name}", is_url=False, folders=trust.folders)

    def _find_or_make(self, source: _Source, rate_hz: int) -> Rendition:
        found = self._making.get(source.shared_by)
        if found is not None:
            return found
        rendition = self._making[source.shared_by] = Rendition(rate_hz)
        work = self._make_from_url(source, rendition) if source.is_url else self._make_from_file(source, rendition)
        task = asyncio.create_task(self._make(source, rendition, work), name=f"sound {source.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return rendition

    def _path_of(self, source: str) -> Path:
        return self._folder / (unquote(source.removeprefix("file://")) if source.startswith("file://") else source)

    async def _make(self, source: _Source, rendition: Rendition, work: Coroutine[Any, Any, None]) -> None:
        name = source.name
        error: MediaError | None = MediaError(f"{name}: given up")
        try:
            await work
            error = None
        except MediaError as reason:
            error = reason
        except OSError as reason:
            error = MediaError(f"{name}: {reason.strerror or reason}")
        except ValueError as reason:  # a path with NUL in it, an invalid URL
            error = MediaError(f"{name[:200]!r}: {reason}")
        finally:
            self._forget(source, rendition)
            rendition.end(error)

    def _forget(self, source: _Source, rendition: Rendition) -> None:
        if self._making.get(source.shared_by) is rendition:
            del self._making[source.shared_by]

    # -- files

    async def _make_from_file(self, source: _Source, rendition: Rendition) -> None:
        path = Path(source.name)
        cached, facts = await self._decoder.run(self._look_up, source, path)
        if cached is not None:
            rendition.grow(cached.file, cached.n_bytes)
            return
        file = await self._decoder.run(lambda: self._folders.open_path(path, source.folders).open("rb"))
        with file:
            await self._decoder.decode(source.key, file, str(path), rendition, facts)

    def _look_up(self, source: _Source, path: Path) -> tuple[CachedSound | None, dict[str, Any]]:
        status = self._folders.open_path(path, source.folders).stat()
        facts = {"changed_ns": status.st_mtime_ns, "size": status.st_size}
        cached = self._cache.open(source.key)
        if cached is not None and cached.facts != facts:
            cached.file.close()
            cached = None
        return cached, facts

    # -- URLs

    def _client_for(self, source: _Source) -> httpx.AsyncClient:
        return self._clients.shared(source.trusted) if self._clients is not None else self._client

    async def _make_from_url(self, source: _Source, rendition: Rendition) -> None:
        cached = await self._decoder.run(self._cache.open, source.key)
        if cached is None:
            async with requested(self._client_for(source), source.name, {}) as response:
                await self._download(source, response, rendition)
            return
        is_used = self._is_fresh(source.key, cached.facts)
        try:
            if not is_used:
                is_used = await self._still_holds(source, cached.facts, rendition)
        except SourceRefused:
            raise  # it was fetched when it was allowed
        except MediaError as error:
            if rendition.is_begun:
                raise
            told = {"url": source.name, "reason": str(error)}
            logger.warning("a sound could not be asked for again, the kept one is played", extra=told)
            is_used = True
        finally:
            if not is_used:
                cached.file.close()
        if is_used:
            rendition.grow(cached.file, cached.n_bytes)

    async def _still_holds(self, source: _Source, facts: Mapping[str, Any], rendition: Rendition) -> bool:
        """Revalidate with the server; returns whether the cached sound is valid. If not, `rendition` has been filled again."""
        async with requested(self._client_for(source), source.name, facts) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                self._note_check(source.key)
                return True
            await self._download(source, response, rendition)
            return False

    async def _download(self, source: _Source, response: httpx.Response, rendition: Rendition) -> None:
        feed, url = Feed(), source.name
        if not declared_bytes(response):
            self._make_for_readers_only(source, rendition)
        facts = None if forbids_keeping(response) else facts_of(response)
        decoding = asyncio.ensure_future(self._decoder.decode(source.key, feed, url, rendition, facts))
        try:
            await _fill(feed, url, response)
        except BaseException as error:
            reason = error if isinstance(error, MediaError) else MediaError(f"{url}: {str(error) or 'given up'}")
            feed.finish(reason, at_once=not isinstance(error, Exception))
            with contextlib.suppress(MediaError, OSError):
                await decoding
            raise
        await decoding
        self._note_check(source.key)

    def _make_for_readers_only(self, source: _Source, rendition: Rendition) -> None:
        """The length is unknown and the sound may be endless: continue only while there is a reader."""
        task = asyncio.current_task()

        def give_up() -> None:
            self._forget(source, rendition)
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
    """Pass the body on until its end, or until there is no reader."""
    n_bytes = 0
    async for data in response.aiter_bytes():
        n_bytes += len(data)
        if n_bytes > MAX_SOURCE_BYTES:
            raise MediaError(f"{url}: more than {MAX_SOURCE_BYTES} bytes")
        if not await feed.put(data):
            break
    feed.finish()
