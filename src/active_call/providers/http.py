"""What all HTTP vendors share: turning an error response into a ProviderError. Knows no vendor."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx

from active_call.base.errors import ProviderError

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed later (RFC 9110 §15, RFC 6585 §4; 529 is a widespread "overloaded")."""

EXCERPT_CHARS = 200
CONNECT_S = 4.0
"""The deadline for a connection that is opened in advance."""

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
    """Raise the ProviderError of a response that is not 2xx. Reads the body of a streamed one."""
    if not response.is_success:
        await response.aread()
        raise status_error(provider, response.status_code, response.text)


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
