"""The routes of the sockets, and their access control."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from msgspec.structs import replace
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket

from active_call.api.access import AccessCheck
from active_call.api.refusals import refuse_socket
from active_call.api.sockets.beginnings import CallsToPlace, by_browser, by_sip, by_socket
from active_call.api.sockets.call_socket import BeginsCalls, CallSocket, SocketServices
from active_call.api.sockets.connection import connection_of
from active_call.api.sockets.playbook_runs import PlaybookRuns
from active_call.api.sockets.query import QueryError, read_query
from active_call.base.world import World
from active_call.legs.webrtc.settings import BrowserSettings
from active_call.media.pool.pool import MediaPool


def socket_routes(
    calls: CallsToPlace, runs: PlaybookRuns, check: AccessCheck, pool: MediaPool | None, browsers: BrowserSettings
) -> APIRouter:
    """`/call/sip`; `/call` and `/call/webrtc` if there is a `pool` for their clients' sound."""
    router = APIRouter()
    shared, world = SocketServices(calls, runs), World()

    async def serve(client: WebSocket, begins: Callable[[str], BeginsCalls], *, carries_sound: bool = False) -> None:
        try:
            check(client)
            query = read_query(client.query_params)
            query = replace(query, id=query.id or f"s.{world.randomness.uuid()}")
        except HTTPException as refusal:
            await refuse_socket(client, refusal.status_code, str(refusal.detail))
        except QueryError as error:
            await refuse_socket(client, 400, str(error))
        else:
            if (query.only_live or query.since is not None) and query.id and calls.find(query.id) is None:
                await refuse_socket(client, 404, f"no call {query.id!r}")
                return
            peer = client.client.host if client.client else ""
            socket = CallSocket(client, connection_of(client), query, shared, begins(peer), carries_sound=carries_sound)
            await socket.run()

    @router.websocket("/call/sip")
    async def sip(client: WebSocket) -> None:
        await serve(client, lambda _: by_sip(calls))

    if pool is not None:

        @router.websocket("/call")
        async def websocket(client: WebSocket) -> None:
            await serve(client, lambda peer: by_socket(calls, pool, world, peer), carries_sound=True)

        @router.websocket("/call/webrtc")
        async def webrtc(client: WebSocket) -> None:
            await serve(client, lambda peer: by_browser(calls, pool, browsers, world, peer))

    return router
