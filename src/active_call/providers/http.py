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


def status_error(provider: str, status: int, body: str) -> ProviderError:
    """The error for a response that is not 2xx. It quotes part of `body`, where vendors give the reason."""
    excerpt = " ".join(body.split())[:EXCERPT_CHARS]
    return ProviderError(provider, f"HTTP {status}: {excerpt or 'no explanation'}", retryable=status in RETRYABLE_STATUS)


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


async def lines_of(provider: str, response: httpx.Response) -> AsyncIterator[str]:
    """The lines of a streamed body, without their ends (LF, CRLF or CR). Raises ProviderError for a line that does not end.

    Unlike httpx's `aiter_lines`, it does not split at characters such as U+2028, which JSON may contain.
    """
    waiting = bytearray()
    async for piece in response.aiter_bytes():
        n_searched = len(waiting)
        waiting += piece
        if (end := waiting.rfind(b"\n", n_searched)) >= 0:
            complete, waiting = bytes(waiting[: end + 1]), waiting[end + 1 :]
            for line in complete.splitlines():
                yield line.decode("utf-8", "replace")
        if len(waiting) > MAX_LINE_BYTES:
            raise ProviderError(provider, f"sent a line of more than {MAX_LINE_BYTES} bytes", retryable=True)
    for line in bytes(waiting).splitlines():
        yield line.decode("utf-8", "replace")
