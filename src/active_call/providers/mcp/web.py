"""The HTTP client of an MCP server behind a URL: bodies of answers are bounded, because a server may be wrong or hostile.

The SDK bounds single events of a stream itself, and reads any other body as a whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2

from active_call.providers.mcp.settings import McpSettings

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The longest message of a local server, too."""


def web_client(settings: McpSettings, *, connect_s: float, read_s: float) -> httpx2.AsyncClient:
    """A client with the headers of `settings`. `read_s`: the longest silence in an answer."""
    return httpx2.AsyncClient(
        headers={"Accept-Encoding": "identity", **settings.headers},
        timeout=httpx2.Timeout(connect_s, read=read_s),
        event_hooks={"response": [_bound]},
    )


async def _bound(response: Any) -> None:
    """Bound the body, except that of a stream of events."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise httpx2.DecodingError("the body is compressed, which was not asked for", request=response.request)
    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        n_bytes = 0
        async for piece in self._inner:
            n_bytes += len(piece)
            if n_bytes > MAX_BODY_BYTES:
                raise httpx2.ReadError(f"the body is longer than {MAX_BODY_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()
