"""Fetches sound over HTTP: one request, its errors as text, and the pipe from the loop to the decoding thread.

A URL and the facts of an earlier download enter; bytes leave through a `Feed`, which slows down a fast server if the decoder is slow; a
slow server never blocks the loop. Knows no format and no cache file. RFC 9110 (conditional requests), RFC 9111 (freshness).
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from active_call.base.errors import MediaError
from active_call.net.outgoing import is_refusal

CONNECT_S: Final = 5.0
STALL_S: Final = 10.0
"""A server that sends nothing for this long has failed."""
MAX_SOURCE_BYTES: Final = 512 * 1024 * 1024
FEED_BYTES: Final = 256 * 1024
_MAX_VALIDATOR: Final = 512
_TIMEOUT: Final = httpx.Timeout(STALL_S, connect=CONNECT_S)


class SourceRefused(MediaError):
    """The host is not allowed."""


@asynccontextmanager
async def requested(client: httpx.AsyncClient, url: str, known: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
    """The response to a GET of `url`, body unread: 200, or 304 if `known` (from `facts_of`) is still valid.

    Raises MediaError with URL and reason (SourceRefused if the host is not allowed), also for errors while the body is read inside the
    block.
    """
    conditions = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("last_modified")}
    headers = {
        "Accept": "audio/*, */*;q=0.5",
        "Accept-Encoding": "identity",
        **{name: value for name, value in conditions.items() if value},
    }
    try:
        async with client.stream("GET", url, headers=headers, timeout=_TIMEOUT, follow_redirects=True) as response:
            if not (response.status_code == 200 or (response.status_code == 304 and known)):
                raise MediaError(f"{url}: {response.status_code} {response.reason_phrase}".rstrip())
            if declared_bytes(response) > MAX_SOURCE_BYTES:
                raise MediaError(f"{url}: {declared_bytes(response)} bytes are too many (at most {MAX_SOURCE_BYTES})")
            yield response
    except httpx.TimeoutException as error:
        waited_s = CONNECT_S if isinstance(error, httpx.ConnectTimeout) else STALL_S
        raise MediaError(f"{url}: the server did not answer for {waited_s:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        family = SourceRefused if is_refusal(error) else MediaError
        raise family(f"{url}: {str(error) or type(error).__name__}") from error


def declared_bytes(response: httpx.Response) -> int:
    """Content-Length, 0 if absent."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def facts_of(response: httpx.Response) -> dict[str, Any]:
    """What is stored with the sound for later requests: validators, and the time until it must be revalidated."""
    facts: dict[str, Any] = {}
    for name, header in (("etag", "etag"), ("last_modified", "last-modified")):
        value = response.headers.get(header, "")
        if 0 < len(value) <= _MAX_VALIDATOR:
            facts[name] = value
    age = re.search(r"(?:^|[,\s])max-age=(\d{1,9})", response.headers.get("cache-control", "").lower())
    if age and not forbids_reuse(response):
        facts["max_age_s"] = int(age[1])
    return facts


def forbids_reuse(response: httpx.Response) -> bool:
    """Whether it must be revalidated each time (`no-cache`), or not be stored at all."""
    return "no-cache" in response.headers.get("cache-control", "").lower() or forbids_keeping(response)


def forbids_keeping(response: httpx.Response) -> bool:
    """Whether it must not be stored (`no-store`, RFC 9111 §5.2.2.5)."""
    return "no-store" in response.headers.get("cache-control", "").lower()


class Feed:
    """Bytes from the loop to one thread. `put` and `finish` are for the loop, `read` and `abandon` for the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._n_waiting = 0
        self._is_finished = False
        self._is_abandoned = False
        self._error: MediaError | None = None

    async def put(self, data: bytes) -> bool:
        """Append, and wait while much is unread. False: the reader is gone."""
        with self._changed:
            self._chunks.append(data)
            self._n_waiting += len(data)
            self._changed.notify()
        while not self._is_abandoned and self._n_waiting > FEED_BYTES:
            self._has_room.clear()
            if self._n_waiting > FEED_BYTES and not self._is_abandoned:
                await self._has_room.wait()
        return not self._is_abandoned

    def finish(self, error: MediaError | None = None, *, at_once: bool = False) -> None:
        """No more bytes follow. The reader gets `error` at the end, or immediately with `at_once`."""
        with self._changed:
            self._is_finished = True
            if at_once:
                self._chunks.clear()
            self._error = error
            self._changed.notify()

    def read(self, n_bytes: int) -> bytes:
        """The next bytes, at most `n_bytes`; empty at the end. Blocks. Raises the error given to `finish`."""
        with self._changed:
            while not (self._chunks or self._is_finished):
                self._changed.wait()
            if not self._chunks:
                if self._error is not None:
                    raise self._error
                return b""
            chunk = self._chunks.popleft()
            if len(chunk) > n_bytes:
                self._chunks.appendleft(chunk[n_bytes:])
                chunk = chunk[:n_bytes]
            self._n_waiting -= len(chunk)
        self._wake()
        return chunk

    def abandon(self) -> None:
        """Stop reading."""
        self._is_abandoned = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._has_room.set)
