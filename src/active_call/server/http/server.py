"""The HTTP server in this process: uvicorn over our own limited sockets and connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial

import uvicorn
from msgspec import Struct
from uvicorn.server import ServerState

from active_call.api.connections import Connections, HttpLimits, Listener
from active_call.api.http_protocol import BoundedHttp
from active_call.api.late_app import LateApp
from active_call.api.origins import OriginRules
from active_call.api.services import ApiServices
from active_call.api.sockets.protocol import SocketProtocol
from active_call.base.bulk_input import BulkInput
from active_call.base.errors import ConfigError
from active_call.base.world import Clock
from active_call.net.addresses import is_wildcard
from active_call.net.descriptors import DescriptorShares
from active_call.net.limits import Refusals
from active_call.server.config.config import Config
from active_call.server.http.settings import HttpSettings
from active_call.server.listening import why_not_free

MAX_SOCKET_MESSAGE_BYTES = 1024 * 1024
STOP_S = 3.0
"""The time for the stop; uvicorn waits for 2 s and cancels what still runs."""


class HttpServer(Struct, frozen=True):
    """The running server."""

    port: int
    hurry: Callable[[], None]
    """Do not wait for requests that are being answered when it stops."""


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

    def hurry(self) -> None:
        """Let it end without waiting for requests."""
        self.force_exit = True

    def end(self) -> None:
        """Let it end."""
        self.should_exit = True
        self._ending.set()


def http_health(connections: Connections) -> dict[str, object]:
    """The part of `/health` about HTTP."""
    return {"http": {"connections": len(connections), "refused": dict(connections.refusals.counts)}}


def origin_rules(config: Config) -> OriginRules:
    """The host names by which this server may be addressed."""
    bound = "" if is_wildcard(config.http_host) else config.http_host
    return OriginRules(bound, config.http_hosts, any_host=config.http_token is not None or bool(config.http_tokens))


def http_connections(config: Config, shares: DescriptorShares, clock: Clock) -> Connections:
    """The configured limits, reduced to the process's descriptors."""
    limits = HttpLimits(connections=min(config.http_max_connections, shares.http_connections), first_reserved=shares.first_reserved)
    return Connections(limits, Refusals(clock, logging.getLogger("active_call.api")))


@asynccontextmanager
async def http_server(
    config: Config, services: ApiServices, connections: Connections, http: HttpSettings, bulk: BulkInput
) -> AsyncIterator[HttpServer]:
    """Serve until the block ends; what clients send by WebSockets is handled in the time of `bulk`.

    Raises ConfigError if the address is not available."""
    listening = _bound_socket(config)
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
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[]), name="http")
    settings.load()
    listener = Listener(listening, connections, lambda: BoundedHttp(settings, server.server_state, connections), lambda: http.tls)
    port = int(listening.getsockname()[1])
    listener.start()
    try:
        yield HttpServer(port, server.hurry)
    finally:
        listener.close()
        server.end()
        await asyncio.wait([task], timeout=STOP_S)
        for connection in list(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()  # a client that does not close would be read until the process ends


def _bound_socket(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.http_host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if config.http_host == "::" else 1)
    try:
        listening.bind((config.http_host, config.http_port))
    except OSError as error:
        listening.close()
        why = why_not_free("tcp", config.http_host, config.http_port) or str(error.strerror).lower()
        raise ConfigError("http_addr", f"cannot listen on {config.http_addr}: {why}") from error
    return listening
