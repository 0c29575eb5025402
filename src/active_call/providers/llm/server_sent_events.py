"""A language model's reply as server-sent events: one POST, then the JSON of each event as it comes.

A URL, headers and a body enter; parsed events leave, or one ProviderError. The event format is that of the HTML standard ("Server-sent
events"), of which only the data is read: events name their type in it. Deadlines and retries belong to the provider wall.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import httpx

from active_call.base.errors import ProviderError
from active_call.providers.http import EXCERPT_CHARS, LineReader, check_status, whole_body

TIMEOUT_S: Final = 30.0
"""For a single read. It is longer than the wall's deadlines, which apply first."""
END: Final = "[DONE]"
"""The text with which some servers end their stream, in place of an event."""
DRAIN_S: Final = 1.0
"""How long to wait for the end of the body after `END`: the connection can be used again only after it."""
READS_PER_REST: Final = 2
JSON: Final = "application/json"
STREAMS: Final = frozenset({"text/event-stream", "text/plain", "application/octet-stream", ""})
"""The content types that are read as events: some servers do not declare their stream."""


class WholeAnswer(dict[str, Any]):
    """An answer in plain JSON in place of a stream."""


async def events_of(
    http: httpx.AsyncClient,
    provider: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    rest_s: Callable[[], float] = lambda: 0.0,
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The events of one answer, as JSON objects. An answer in plain JSON counts as one event, a `WholeAnswer`.

    `rest_s`: see `chat.ReplyRequest`.

    Raises StatusError for an error status, and ProviderError for a broken connection and data that is not an event.
    """
    try:
        async with http.stream("POST", url, json=body, headers=headers, timeout=TIMEOUT_S) as response:
            await check_status(provider, response)
            kind = _kind_of(response)
            if kind == JSON:
                yield WholeAnswer(_object_in(provider, (await whole_body(provider, response)).decode(errors="replace")))
                return
            if kind not in STREAMS:
                raise ProviderError(provider, f"the response is not an event stream but {kind[:80]!r}", retryable=True)
            pieces = response.aiter_bytes()
            reader, paced = EventDataReader(provider), PacedBody(pieces, rest_s)
            while (piece := await paced.next_piece()) is not None:
                for data in reader.feed(piece):
                    if data == END:
                        with contextlib.suppress(TimeoutError, httpx.TransportError):
                            async with asyncio.timeout(DRAIN_S):
                                async for _ in pieces:
                                    pass
                        return
                    yield _object_in(provider, data)
            for data in reader.finish():
                if data != END:
                    yield _object_in(provider, data)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ProviderError(provider, f"connection failed: {str(error) or type(error).__name__}", retryable=True) from error
    except httpx.TransportError as error:
        raise ProviderError(provider, f"connection lost: {str(error) or type(error).__name__}", retryable=True) from error
    except httpx.DecodingError as error:
        raise ProviderError(provider, f"the answer cannot be read: {error}", retryable=True) from error


class PacedBody:
    """Reads a body piece by piece, and rests after every second read of the socket for as long as `rest_s` says.

    A read brings all that has come, in several pieces if the vendor wrote several (RFC 9112, section 7.1). Those after the first come
    without a pass of the event loop. So the passes are counted: the first read after a rest takes what came meanwhile, to its last
    piece, and the second one waits for more, after which the body may rest again.
    """

    def __init__(self, pieces: AsyncIterator[bytes], rest_s: Callable[[], float]) -> None:
        self._pieces = pieces
        self._rest_s = rest_s
        self._n_reads = 0
        self._is_counting = False

    async def next_piece(self) -> bytes | None:
        """The next piece; None at the end of the body."""
        rest_s = self._rest_s()
        if rest_s > 0:
            if self._n_reads >= READS_PER_REST:
                await asyncio.sleep(rest_s)
                self._n_reads = 0
            if not self._is_counting:
                self._is_counting = True
                asyncio.get_running_loop().call_soon(self._count)
        return await anext(self._pieces, None)

    def _count(self) -> None:
        """The loop has made a pass: the piece was not there."""
        self._is_counting = False
        self._n_reads += 1


class EventDataReader:
    """Reads the data of events from a streamed body: the `data` lines of each, up to an empty line.

    An event that is cut off, or without data, counts as none. Raises ProviderError for a line that does not end.
    """

    def __init__(self, provider: str) -> None:
        self._lines = LineReader(provider)
        self._parts: list[str] = []

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of the events that `piece` completes."""
        return self._data_in(self._lines.feed(piece))

    def finish(self) -> Iterator[str]:
        """The data of the events in the rest of the body."""
        return self._data_in(self._lines.finish())

    def _data_in(self, lines: list[str]) -> Iterator[str]:
        for line in lines:
            name, _, value = line.removeprefix("\ufeff").partition(":")
            if name == "data":
                self._parts.append(value.removeprefix(" "))
            elif not line and self._parts:
                data, self._parts = "\n".join(self._parts), []
                if data:
                    yield data


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
