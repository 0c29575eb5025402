"""WebSockets that this server opens: to whom, and what is said of those that cannot be opened."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from websockets.asyncio.server import ServerConnection, serve

from active_call.base.errors import ActiveCallError
from active_call.net.outgoing import OutgoingPolicy, OutgoingRefused, parse_place
from active_call.net.outgoing_socket import OutgoingSockets, SocketUnavailable

LOCAL = OutgoingPolicy((parse_place("127.0.0.1"),))


async def _echo(connection: ServerConnection) -> None:
    assert connection.request is not None
    await connection.send(connection.request.headers.get("X-Key", ""))
    async for message in connection:
        await connection.send(message)


def test_socket_is_opened_to_an_allowed_place_with_its_headers() -> None:
    async def story() -> None:
        async with serve(_echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            sockets = OutgoingSockets(LOCAL, ssl.create_default_context())
            socket = await sockets.open(f"ws://127.0.0.1:{port}/x", {"X-Key": "k"})
            assert await socket.recv() == "k"
            await socket.send(b"\1\2")
            assert await socket.recv() == b"\1\2"
            await socket.close()
            forbidden = OutgoingSockets(OutgoingPolicy(), ssl.create_default_context())
            with pytest.raises(OutgoingRefused, match="not on the public internet"):
                await forbidden.open(f"ws://127.0.0.1:{port}/x")
            trusted = await forbidden.open(f"ws://127.0.0.1:{port}/x", trusted=frozenset({("127.0.0.1", port)}))
            await trusted.close()

    asyncio.run(story())


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "ws:///x", "ws://[::1", "ws://127.0.0.1:99999", "ws://127.0.0.1:1/x"])
def test_socket_that_cannot_be_opened_is_an_error_in_words(url: str) -> None:
    with pytest.raises(SocketUnavailable) as error:
        asyncio.run(OutgoingSockets(LOCAL, ssl.create_default_context()).open(url))
    assert isinstance(error.value, ActiveCallError) and str(error.value)
