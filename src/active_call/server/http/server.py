"""The HTTP server in this process: its socket, its limits, and when its protocols are loaded (`protocols`)."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from active_call.api.connections import BACKLOG, Connections, HttpLimits, Listener
from active_call.api.origins import OriginRules
from active_call.api.services import ApiServices
from active_call.base.bulk_input import BulkInput
from active_call.base.errors import ConfigError
from active_call.base.world import Clock
from active_call.net.addresses import is_wildcard
from active_call.net.descriptors import DescriptorShares
from active_call.net.limits import Refusals
from active_call.server.config.config import Config
from active_call.server.http.settings import HttpSettings
from active_call.server.listening import why_not_free

log = logging.getLogger("active_call.server")

PROTOCOLS: Final = "active_call.server.http.protocols"
"""Loaded by name: with uvicorn, h11, Starlette and websockets it takes a fifteenth of a start, and calls do not need it."""


class HttpServer(Struct, frozen=True):
    """The running server."""

    port: int
    hurry: Callable[[], None]
    """Do not wait for requests that are being answered when it stops."""


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

    Clients that connect before the protocols are loaded wait. Raises ConfigError if the address is not available.
    """
    listening, hurried = _bound_socket(config), asyncio.Event()
    listening.listen(BACKLOG)
    serving = asyncio.get_running_loop().create_task(_serve(listening, services, connections, http, bulk, hurried), name="http")
    serving.add_done_callback(_note_failure)
    try:
        yield HttpServer(int(listening.getsockname()[1]), hurried.set)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listening.close()


async def _serve(
    listening: socket.socket,
    services: ApiServices,
    connections: Connections,
    http: HttpSettings,
    bulk: BulkInput,
    hurried: asyncio.Event,
) -> None:
    """Load the protocols in a thread, which takes a tenth of a second in which calls come in already, then accept until cancelled."""
    protocols = await asyncio.to_thread(importlib.import_module, PROTOCOLS)
    async with protocols.serving(services, connections, bulk, hurried) as make:
        listener = Listener(listening, connections, make, lambda: http.tls)
        listener.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            listener.close()


def _note_failure(serving: asyncio.Task[None]) -> None:
    error = None if serving.cancelled() else serving.exception()
    if error is not None:
        log.error("the HTTP API does not run", exc_info=error)


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
