"""What serves the HTTP server's connections: uvicorn over our own limited sockets and connections. Loaded after the start (`server`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from active_call.api.connections import Connections
from active_call.api.http_protocol import BoundedHttp
from active_call.api.late_app import LateApp
from active_call.api.services import ApiServices
from active_call.api.sockets.protocol import SocketProtocol
from active_call.base.bulk_input import BulkInput

MAX_SOCKET_MESSAGE_BYTES: Final = 1024 * 1024
STOP_S: Final = 3.0
"""The time for the stop; uvicorn waits for 2 s and cancels what still runs."""


class _State(ServerState):
    """The state shared by uvicorn's connections. It creates the `Date` header on demand, at most once a second."""

    def __init__(self, settings: uvicorn.Config) -> None:
        self._settings = settings
        self._made_at = 0
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every response."""
        now = int(time.time())
        if now != self._made_at:
            self._made_at = now
            self._headers = [(b"date", formatdate(now, usegmt=True).encode()), *self._settings.encoded_headers]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Ignore the headers that uvicorn sets."""


class _Server(uvicorn.Server):
    """uvicorn's server without its periodic clock tick; `end` stops it immediately."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self.server_state = _State(settings)
        self._ending = asyncio.Event()

    async def main_loop(self) -> None:
        await self._ending.wait()

    async def hurry_after(self, hurried: asyncio.Event) -> None:
        """Do not wait for requests once `hurried` is set."""
        await hurried.wait()
        self.force_exit = True

    def end(self) -> None:
        """Let it end."""
        self.should_exit = True
        self._ending.set()


@asynccontextmanager
async def serving(
    services: ApiServices, connections: Connections, bulk: BulkInput, hurried: asyncio.Event
) -> AsyncIterator[Callable[[], BoundedHttp]]:
    """Run uvicorn without sockets; yields what creates the protocol of a connection. Once `hurried` is set, it ends without waiting for
    requests. What clients send by WebSockets is handled in the time of `bulk`.
    """
    limits = connections.limits
    settings = uvicorn.Config(
        LateApp(services),
        http="h11",
        log_config=None,
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=int(limits.idle_s),
        h11_max_incomplete_event_size=limits.header_bytes,
        ws=partial(SocketProtocol, bulk=bulk),  # type: ignore[arg-type]
        ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
        ws_ping_interval=None,  # each socket sends pings as its client requests
        ws_per_message_deflate=False,  # sound does not compress, and events are short
    )
    server = _Server(settings)
    # The CLI handles the process's signals.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[]), name="uvicorn")
    settings.load()
    hurrying = asyncio.get_running_loop().create_task(server.hurry_after(hurried))
    try:
        yield lambda: BoundedHttp(settings, server.server_state, connections)
    finally:
        server.end()
        await asyncio.wait([task], timeout=STOP_S)
        hurrying.cancel()
        for connection in list(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()  # a client that does not close would be read until the process ends
