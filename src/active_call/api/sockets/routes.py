"""The addresses of the sockets, and who may open one."""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocket

from active_call.agent.playbook.scenes import Playbook
from active_call.api.access import AccessCheck
from active_call.api.sockets.call_socket import Calls, CallSocket, SocketServices
from active_call.api.sockets.playbook_runs import PlaybookRuns
from active_call.api.sockets.protocol import EXTENSION
from active_call.api.sockets.query import QueryError, read_query
from active_call.api.walls import error_body
from active_call.call.handle import CallHandle
from active_call.contract.options import CallOption


class CallsToPlace(Calls, Protocol):
    """As `call.opening.registry.CallRegistry`."""

    def place(self, option: CallOption, *, playbook: Playbook | None = None, session_id: str | None = None) -> CallHandle: ...


def socket_routes(calls: CallsToPlace, runs: PlaybookRuns, check: AccessCheck) -> APIRouter:
    """`/call/sip`."""
    router = APIRouter()
    shared = SocketServices(calls, runs)

    def place_sip(option: CallOption, session_id: str | None, playbook: Playbook | None) -> CallHandle:
        return calls.place(option, playbook=playbook, session_id=session_id)

    @router.websocket("/call/sip")
    async def sip(client: WebSocket) -> None:
        try:
            check(client)
            query = read_query(client.query_params)
        except HTTPException as refusal:
            await _refuse(client, refusal.status_code, str(refusal.detail))
            return
        except QueryError as error:
            await _refuse(client, 400, str(error))
            return
        connection = client.scope.get("extensions", {}).get(EXTENSION)
        await CallSocket(client, connection, query, shared, place_sip).run()

    return router


async def _refuse(client: WebSocket, status: int, reason: str) -> None:
    """Answer the handshake with an HTTP status instead of 101."""
    response = Response(error_body(status, reason), status, media_type="application/json")
    if "websocket.http.response" in client.scope.get("extensions", {}):
        await client.send_denial_response(response)
    else:
        await client.close(1008, reason[:100])
