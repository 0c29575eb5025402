"""The body of a response, bounded: a server that is asked may be wrong or hostile, and its answer must not fill the memory.

A response as it came from the connection enters. Its body leaves decompressed in pieces of at most `PIECE_BYTES`, and ends with
httpx.ReadError after `MAX_BODY_BYTES`. httpx itself decompresses each piece that it has read as a whole, which is up to a thousand times
the size. RFC 9110 §8.4 (content codings), RFC 1952 (gzip), RFC 1950 (deflate).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Final, cast

import httpx

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""More than half an hour of sound at 48 kHz."""
PIECE_BYTES: Final = 256 * 1024
ACCEPTED: Final = "gzip, deflate"
"""The codings that requests ask for."""
_BODY: Final = "active_call.body"
_WITH_ANY_HEADER: Final = 32 + zlib.MAX_WBITS
"""zlib: take the format, gzip or zlib, from the header of the data."""


def bounded(response: httpx.Response) -> httpx.Response:
    """`response` with a bounded, decompressed body. Reading it raises httpx.DecodingError for a coding that was not asked for."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    body = _Body(cast("httpx.AsyncByteStream", response.stream), coding, MAX_BODY_BYTES)
    return httpx.Response(response.status_code, headers=headers, stream=body, extensions={**response.extensions, _BODY: body})


async def unbound(response: httpx.Response) -> None:
    """A hook of a client: give `response` the body of `bounded` again, in place of httpx's wrapper.

    The wrapper refers to the response, and so both would be left to the garbage collector. It only measures `elapsed`.
    """
    response.stream = response.extensions.pop(_BODY)


class _Body(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, coding: str, limit: int) -> None:
        self._inner = inner
        self._coding = coding
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise httpx.DecodingError(f"the body has the coding {self._coding[:40]!r}, which was not asked for")
        n_bytes = 0
        inflating = None if self._coding in ("identity", "") else _Inflating()
        async for data in self._inner:
            for piece in (data,) if inflating is None else inflating.pieces(data):
                n_bytes += len(piece)
                if n_bytes > self._limit:
                    raise httpx.ReadError(f"the body is longer than {self._limit} bytes")
                yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Inflating:
    """Decompresses gzip (also of several members) and zlib."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_ANY_HEADER)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The content of `data`. Raises httpx.DecodingError."""
        while data:
            try:
                piece = self._inflate.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise httpx.DecodingError(f"the body cannot be decompressed: {error}") from error
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data.lstrip(b"\0")
                self._inflate = zlib.decompressobj(_WITH_ANY_HEADER)
