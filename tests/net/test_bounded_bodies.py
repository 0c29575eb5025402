"""Bodies of responses from servers that are wrong or hostile."""

from __future__ import annotations

import asyncio
import gzip
import weakref
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from active_call.net import bounded_bodies
from active_call.net.bounded_bodies import PIECE_BYTES, bounded
from active_call.net.outgoing import OutgoingPolicy, guarded_client, parse_place


class Sent(httpx.AsyncByteStream):
    """A body as it comes from a connection, in pieces of `size` bytes. `n_read`: the pieces that were asked for."""

    def __init__(self, body: bytes, size: int = 1000) -> None:
        self._body, self._size, self.n_read, self.is_closed = body, size, 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._size):
            self.n_read += 1
            yield self._body[start : start + self._size]

    async def aclose(self) -> None:
        self.is_closed = True


def read(sent: Sent, **headers: str) -> list[bytes]:
    """The pieces of the bounded body."""

    async def run() -> list[bytes]:
        response = bounded(httpx.Response(200, headers=headers, stream=sent))
        try:
            return [piece async for piece in response.aiter_bytes()]
        finally:
            await response.aclose()

    return asyncio.run(run())


TEXT = b"The shop opens at eight. " * 1000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:7000]) + gzip.compress(TEXT[7000:])),
        ("GZip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
    ],
)
def test_body_is_the_same_in_every_coding(coding: str, body: bytes) -> None:
    sent = Sent(body)
    assert b"".join(read(sent, **{"content-encoding": coding})) == TEXT and sent.is_closed


def test_body_that_grows_by_decompression_comes_in_small_pieces_and_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_bodies, "MAX_BODY_BYTES", 8 * PIECE_BYTES)
    sent, largest = Sent(gzip.compress(bytes(64 * PIECE_BYTES))), 0

    async def run() -> None:
        nonlocal largest
        async for piece in bounded(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=sent)).aiter_bytes():
            largest = max(largest, len(piece))

    with pytest.raises(httpx.ReadError, match="longer than"):
        asyncio.run(run())
    assert 0 < largest <= PIECE_BYTES


def test_endless_body_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_bodies, "MAX_BODY_BYTES", 10_000)
    sent = Sent(bytes(1_000_000))
    with pytest.raises(httpx.ReadError, match="longer than 10000 bytes"):
        read(sent)
    assert sent.n_read == 11


@pytest.mark.parametrize(
    ("coding", "body"), [("br", b"x"), ("gzip, gzip", gzip.compress(TEXT)), ("gzip", b"no gzip"), ("deflate", b"\xff\xff")]
)
def test_body_that_cannot_be_decompressed_is_an_error(coding: str, body: bytes) -> None:
    with pytest.raises(httpx.DecodingError):
        read(Sent(body), **{"content-encoding": coding})


def test_client_asks_for_what_it_decompresses_and_reads_it() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = gzip.compress(TEXT)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def run() -> bytes:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with guarded_client(OutgoingPolicy((parse_place("127.0.0.1"),))) as http:
                return (await http.get(f"http://127.0.0.1:{port}/")).content

    assert asyncio.run(run()) == TEXT and b"accept-encoding: gzip, deflate\r\n" in asked[0].lower()


@pytest.mark.usefixtures("without_collector")
def test_response_that_was_read_is_freed_also_after_a_redirect() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"GET /moved " in asked:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TEXT) + TEXT)
        await writer.drain()
        writer.close()

    async def stream(http: httpx.AsyncClient, url: str) -> weakref.ref[httpx.Response]:
        async with http.stream("GET", url, follow_redirects=True) as response:
            assert b"".join([piece async for piece in response.aiter_bytes()]) == TEXT
            return weakref.ref(response)

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with guarded_client(OutgoingPolicy((parse_place("127.0.0.1"),))) as http:
                assert (await stream(http, f"http://127.0.0.1:{port}/there"))() is None
                assert (await stream(http, f"http://127.0.0.1:{port}/moved"))() is None
                whole = await http.get(f"http://127.0.0.1:{port}/there")
                known, text = weakref.ref(whole), whole.content
                del whole
                assert known() is None and text == TEXT

    asyncio.run(run())
