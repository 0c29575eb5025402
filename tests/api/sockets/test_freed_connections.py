"""A WebSocket connection that has ended is freed at once, with the program that served it, without the garbage collector."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from weakref import ref

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from active_call.api.connections import Connections, HttpLimits
from active_call.api.http_protocol import BoundedHttp
from active_call.api.sockets.connection import EXTENSION
from active_call.api.sockets.protocol import SocketProtocol
from active_call.base.world import SystemClock
from active_call.net.limits import Refusals

pytestmark = pytest.mark.usefixtures("without_collector")


class Handler:
    """Stands for the call whose messages bypass the application."""

    def take(self, message: str | bytes) -> bool:
        del message
        return True


def test_connection_and_what_takes_its_messages_are_freed() -> None:
    freed: list[ref[Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        handler, connection = Handler(), scope["extensions"][EXTENSION]
        connection.take_bytes = connection.take_text = handler.take
        freed.extend((ref(handler), ref(connection)))
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def run() -> None:
        settings = uvicorn.Config(app, log_config=None, lifespan="off", http="h11", ws=SocketProtocol, ws_ping_interval=None)  # type: ignore[arg-type]
        settings.load()
        connections = Connections(HttpLimits(), Refusals(SystemClock(), logging.getLogger("test")))
        loop, state = asyncio.get_running_loop(), ServerState()
        server = await loop.create_server(lambda: BoundedHttp(settings, state, connections), "127.0.0.1", 0)
        try:
            async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/call") as client:
                await client.send(b"sound")
                await client.send("text")
            async with asyncio.timeout(10):
                while len(freed) < 2 or any(one() is not None for one in freed):
                    await asyncio.sleep(0.02)
        finally:
            server.close()

    uvloop.run(run())
