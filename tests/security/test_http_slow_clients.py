"""Deadlines of one HTTP connection, with short times: the real protocol in this process, over sockets of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from starlette.responses import StreamingResponse

from active_call.api import http_protocol
from active_call.api.answers import add_error_answers
from active_call.api.connections import Connections, HttpLimits, Listener
from active_call.api.http_protocol import BoundedHttp
from active_call.api.origins import OriginRules
from active_call.api.sockets import protocol
from active_call.api.sockets.protocol import SocketProtocol
from active_call.api.walls import Walls
from active_call.base.world import SystemClock
from active_call.net.limits import Refusals

LIMITS = HttpLimits(connections=4, header_s=0.3, body_s=0.3, idle_s=1.0, unread_s=0.3)
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def an_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b" " * 65536
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    @app.get("/waits")
    async def waits() -> str:
        await asyncio.sleep(1.0)
        return "done"

    @app.websocket("/socket")
    async def talk(peer: WebSocket) -> None:
        await peer.accept()
        await peer.receive_text()

    add_error_answers(app)
    app.add_middleware(Walls, rules=OriginRules())
    return app


@asynccontextmanager
async def a_server(limits: HttpLimits = LIMITS, ws: Any = "auto") -> AsyncIterator[tuple[Connections, Callable[[], Awaitable[Client]]]]:
    connections = Connections(limits, Refusals(SystemClock(), logging.getLogger("test")))
    settings = uvicorn.Config(
        an_app(), http="h11", ws=ws, log_config=None, lifespan="off", timeout_keep_alive=1, timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(settings)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[]))
    settings.load()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listener = Listener(listening, connections, lambda: BoundedHttp(settings, server.server_state, connections))
    listener.start()
    try:
        yield connections, lambda: asyncio.open_connection("127.0.0.1", port)
    finally:
        listener.close()
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)


async def ends_within(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """What comes until the connection is closed."""
    data = b""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                data += piece
    return data


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHo", POST + b"Content-Length: 10\r\n\r\n{", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"]
)
def test_client_that_does_not_go_on_is_closed(sent: bytes) -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            reader, writer = await connect()
            writer.write(sent)
            await ends_within(reader, 1.0)
            assert len(connections) == 0
            assert connections.refusals.counts["http_slow_request"] == 1
            writer.close()

    asyncio.run(go())


def test_drip_does_not_move_the_deadline() -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            reader, writer = await connect()
            writer.write(POST + b"Content-Length: 1000\r\n\r\n")
            for _ in range(12):
                writer.write(b" ")
                await asyncio.sleep(0.05)
            assert await ends_within(reader, 0.5) == b""
            assert len(connections) == 0
            writer.close()

    asyncio.run(go())


@pytest.mark.parametrize(("chunk", "is_taken"), [(b"1\r\n \r\n", False), (b"80\r\n" + b" " * 128 + b"\r\n", True)])
def test_body_in_a_great_many_tiny_chunks_is_refused(chunk: bytes, is_taken: bool) -> None:
    async def story() -> None:
        async with a_server() as (_, connect):
            reader, writer = await connect()
            writer.write(POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4000 + b"0\r\n\r\n")
            answer = await ends_within(reader, 3)
            assert answer.startswith(b"HTTP/1.1 200") == is_taken
            assert is_taken or answer.startswith(b"HTTP/1.1 400") or not answer
            writer.close()

    asyncio.run(story())


def test_idle_connection_after_an_answer_ends_and_a_further_request_is_served_before() -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            reader, writer = await connect()
            for _ in range(2):
                writer.write(POST + b"Content-Length: 2\r\n\r\n{}")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(1) == b"2"
                await asyncio.sleep(0.5)
            await ends_within(reader, 2.0)
            assert len(connections) == 0
            writer.close()

    asyncio.run(go())


def test_client_that_does_not_read_is_closed() -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            _, writer = await connect()
            writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                while not connections.refusals.counts["http_unread_answer"]:
                    await asyncio.sleep(0.05)
                while len(connections):
                    await asyncio.sleep(0.05)
            writer.close()

    asyncio.run(go())


def test_new_connection_takes_the_place_of_the_one_that_waits_longest_and_of_none_at_work() -> None:
    async def go() -> None:
        limits = HttpLimits(connections=4, header_s=5, body_s=5)
        async with a_server(limits) as (connections, connect):
            at_work = [await connect() for _ in range(1)]
            for _, writer in at_work:
                writer.write(b"GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.sleep(0.1)
            idle = [await connect() for _ in range(20)]
            await asyncio.sleep(0.1)
            assert len(connections) <= 4
            _, writer = idle[-1]
            writer.write(POST + b"Content-Length: 2\r\n\r\n{}")
            assert (await idle[-1][0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            for reader, _ in at_work:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            for _, writer in [*at_work, *idle]:
                writer.close()

    asyncio.run(go())


def test_where_all_are_at_work_a_new_connection_is_told_so() -> None:
    async def go() -> None:
        async with a_server(HttpLimits(connections=2, header_s=5)) as (connections, connect):
            reader, writer = await connect()
            writer.write(b"GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.sleep(0.1)
            refused, other = await connect()
            assert b"too_many_connections" in await ends_within(refused, 1.0)
            assert connections.refusals.counts["http_connections_per_address"] == 1
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()
            other.close()

    asyncio.run(go())


UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("body", [b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_request_for_a_socket_that_announces_a_body_is_refused_and_closed(body: bytes) -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            reader, writer = await connect()
            writer.write(UPGRADE + body + b"\r\n")
            assert (await ends_within(reader, 5)).startswith(b"HTTP/1.1 400")
            writer.close()
            async with asyncio.timeout(2):
                while len(connections):
                    await asyncio.sleep(0.05)

    asyncio.run(go())


def test_socket_whose_request_is_not_understood_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The WebSocket library stops reading a request that it refuses, and waits for the client to leave."""
    monkeypatch.setattr(protocol, "HANDSHAKE_S", 0.3)
    monkeypatch.setattr(http_protocol, "_OF_BODIES", frozenset())

    async def go() -> None:
        async with a_server(ws=SocketProtocol) as (connections, connect):
            reader, writer = await connect()
            writer.write(UPGRADE + b"Content-Length: 5\r\n\r\n")
            await ends_within(reader, 5)
            async with asyncio.timeout(2):
                while len(connections):
                    await asyncio.sleep(0.05)
            writer.close()

    asyncio.run(go())


def test_socket_that_was_opened_is_counted_until_its_end() -> None:
    async def go() -> None:
        async with a_server() as (connections, connect):
            reader, writer = await connect()
            writer.write(
                b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            await asyncio.sleep(0.5)
            assert len(connections) == 1
            writer.close()
            async with asyncio.timeout(2):
                while len(connections):
                    await asyncio.sleep(0.05)

    asyncio.run(go())
