"""A language model's reply as server-sent events: one POST, then the JSON of each event as it comes.

A URL, headers and a body enter; parsed events leave, or one ProviderError. The event format is that of the HTML standard ("Server-sent
events"), of which only the data is read: events name their type in it. Deadlines and retries belong to the provider wall.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

import httpx

from active_call.base.errors import ProviderError
from active_call.providers.http import EXCERPT_CHARS, check_status, lines_of

TIMEOUT_S: Final = 30.0
"""For a single read. It is longer than the wall's deadlines, which apply first."""
END: Final = "[DONE]"
"""The text with which some servers end their stream, in place of an event."""


async def events_of(
    http: httpx.AsyncClient, provider: str, url: str, *, headers: Mapping[str, str], body: Mapping[str, Any]
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The events of one answer, as JSON objects. An answer in plain JSON counts as one event.

    Raises ProviderError for an error status, a broken connection, and data that is not an event.
    """
    try:
        async with http.stream("POST", url, json=body, headers=headers, timeout=TIMEOUT_S) as response:
            await check_status(provider, response)
            if _kind_of(response) == "application/json":
                yield _object_in(provider, (await response.aread()).decode(errors="replace"))
                return
            if _kind_of(response) != "text/event-stream":
                raise ProviderError(provider, f"the response is not an event stream but {_kind_of(response)[:80]!r}", retryable=True)
            async for data in _data_in(lines_of(provider, response)):
                if data and data != END:
                    yield _object_in(provider, data)
    except httpx.TransportError as error:
        raise ProviderError(provider, f"connection lost: {str(error) or type(error).__name__}", retryable=True) from error
    except httpx.DecodingError as error:
        raise ProviderError(provider, f"the answer cannot be read: {error}", retryable=True) from error


async def _data_in(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The data of each event: its `data` lines, up to an empty line. An event that is cut off counts as none."""
    parts: list[str] = []
    async for line in lines:
        name, _, value = line.removeprefix("\ufeff").partition(":")
        if name == "data":
            parts.append(value.removeprefix(" "))
        elif not line and parts:
            yield "\n".join(parts)
            parts = []


def _kind_of(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()


def _object_in(provider: str, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, Mapping):
        excerpt = " ".join(text[: 4 * EXCERPT_CHARS].split())[:EXCERPT_CHARS]
        raise ProviderError(provider, f"an event cannot be read: {excerpt or 'nothing'}", retryable=True)
    return value
