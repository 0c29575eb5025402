"""What all HTTP vendors share: turning an error response into a ProviderError. Knows no vendor."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx

from active_call.base.errors import ProviderError

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed later (RFC 9110 §15, RFC 6585 §4; 529 is a widespread "overloaded")."""

EXCERPT_CHARS = 200
CONNECT_S = 4.0
"""The deadline for a connection that is opened in advance."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The longest answer in one JSON text, which is decoded on the event loop. Sound in JSON has a limit of its own."""
MAX_ERROR_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024
"""The longest line of a streamed answer: more than the sound of a sentence as Base64."""

logger = logging.getLogger(__name__)


class StatusError(ProviderError):
    """A response that is not 2xx. The text quotes part of `body`, where vendors give the reason."""

    def __init__(self, provider: str, status: int, body: str) -> None:
        self.status = status
        self.body = body
        excerpt = " ".join(body.split())[:EXCERPT_CHARS]
        super().__init__(provider, f"HTTP {status}: {excerpt or 'no explanation'}", retryable=status in RETRYABLE_STATUS)


def status_error(provider: str, status: int, body: str) -> StatusError:
    """The error for a response that is not 2xx."""
    return StatusError(provider, status, body)


async def open_connection(http: httpx.AsyncClient, url: str) -> None:
    """Open a connection of `http` to the server of `url` in advance, by a request without a key whose answer is ignored. Never raises."""
    try:
        await http.head(url, timeout=CONNECT_S)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        logger.debug("no connection ahead", extra={"reason": f"{type(error).__name__}: {error}"})


async def check_status(provider: str, response: httpx.Response) -> None:
    """Raise the ProviderError of a streamed response that is not 2xx, with the beginning of its body."""
    if not response.is_success:
        raise status_error(provider, response.status_code, await error_text(response))


async def error_text(response: httpx.Response) -> str:
    """The beginning of the body of a streamed error response; the rest is not read."""
    return (await _beginning(response, MAX_ERROR_BYTES))[:MAX_ERROR_BYTES].decode("utf-8", "replace")


async def whole_body(provider: str, response: httpx.Response) -> bytes:
    """The body of a streamed response that is one JSON text. Raises ProviderError if it is longer than `MAX_ANSWER_BYTES`."""
    body = await _beginning(response, MAX_ANSWER_BYTES)
    if len(body) > MAX_ANSWER_BYTES:
        raise ProviderError(provider, f"sent an answer of more than {MAX_ANSWER_BYTES} bytes", retryable=True)
    return body


async def post(provider: str, http: httpx.AsyncClient, url: str, **options: Any) -> httpx.Response:
    """As `http.post`, with a body of at most `MAX_ANSWER_BYTES`, or the beginning of one that is not 2xx.

    Raises ProviderError for a longer one, and httpx's errors.
    """
    async with http.stream("POST", url, **options) as response:
        body = await whole_body(provider, response) if response.is_success else (await error_text(response)).encode()
        return httpx.Response(response.status_code, content=body)


async def _beginning(response: httpx.Response, n_bytes: int) -> bytes:
    """At least the first `n_bytes` of a streamed body, or all of it if it is shorter."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > n_bytes:
            break
    return bytes(body)


class LineReader:
    """Cuts a streamed body into lines, without their ends (LF, CRLF or CR).

    Unlike httpx's `aiter_lines`, it does not split at characters such as U+2028, which JSON may contain.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> list[str]:
        """The lines that `piece` completes. Raises ProviderError for a line that does not end."""
        waiting = self._waiting
        n_searched = len(waiting)
        waiting += piece
        lines: list[str] = []
        if (end := waiting.rfind(b"\n", n_searched)) >= 0:
            lines = _decoded(waiting[: end + 1])
            del waiting[: end + 1]
        if len(waiting) > MAX_LINE_BYTES:
            raise ProviderError(self._provider, f"sent a line of more than {MAX_LINE_BYTES} bytes", retryable=True)
        return lines

    def finish(self) -> list[str]:
        """The rest of the body."""
        return _decoded(self._waiting)


def _decoded(lines: bytearray) -> list[str]:
    return [line.decode("utf-8", "replace") for line in lines.splitlines()]


async def lines_of(provider: str, response: httpx.Response) -> AsyncIterator[str]:
    """The lines of a streamed body, as `LineReader` cuts them. Raises ProviderError."""
    reader = LineReader(provider)
    async for piece in response.aiter_bytes():
        for line in reader.feed(piece):
            yield line
    for line in reader.finish():
        yield line
