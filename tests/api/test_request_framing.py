"""Requests whose length a proxy could read in another way: refused, and nothing behind them is served (RFC 9112 §6.1, §11.2)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from active_call.api.connections import Connections, HttpLimits
from active_call.api.http_protocol import BoundedHttp
from active_call.base.world import SystemClock
from active_call.net.limits import Refusals

AFTER = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"


def served(data: bytes) -> tuple[bytes, list[str]]:
    """What the server sends until it closes, and the paths that it has served."""
    paths: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> bytes:
        settings = uvicorn.Config(app, log_config=None, lifespan="off", http="h11")
        settings.load()
        connections = Connections(HttpLimits(idle_s=0.3), Refusals(SystemClock(), logging.getLogger("test")))
        loop, state = asyncio.get_running_loop(), ServerState()
        server = await loop.create_server(lambda: BoundedHttp(settings, state, connections), "127.0.0.1", 0)
        try:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data)
            async with asyncio.timeout(10):
                sent = await reader.read()
            writer.close()
            return sent
        finally:
            server.close()

    return asyncio.run(run()), paths


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"content-length: 0\r\ntransfer-encoding: CHUNKED",
        b"Content-Length: 2\r\nContent-Length: 4",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
    ],
)
def test_request_with_two_lengths_is_refused_with_all_that_follows(lines: bytes) -> None:
    sent, paths = served(b"POST /call HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n" + CHUNKED + AFTER)
    assert sent.startswith(b"HTTP/1.1 400 ")
    assert sent.count(b"HTTP/1.1") == 1
    assert paths == []


def test_requests_with_one_length_are_served_one_after_the_other() -> None:
    one = b"POST /call HTTP/1.1\r\nHost: x\r\n"
    sent, paths = served(one + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED + one + b"Content-Length: 2\r\n\r\n{}" + AFTER)
    assert sent.count(b"HTTP/1.1 200") == 3
    assert paths == ["/call", "/call", "/admin"]
