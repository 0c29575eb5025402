"""Refuses the handshake of a WebSocket: with an HTTP status and the body of every refusal, instead of 101."""

from __future__ import annotations

from starlette.responses import Response
from starlette.websockets import WebSocket

from active_call.api.walls import error_body


async def refuse_socket(client: WebSocket, status: int, reason: str) -> None:
    """Refuse `client`, which has not been accepted."""
    response = Response(error_body(status, reason), status, media_type="application/json")
    if "websocket.http.response" in client.scope.get("extensions", {}):
        await client.send_denial_response(response)
    else:
        await client.close(1008, reason[:100])
