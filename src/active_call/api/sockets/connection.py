"""Functions of a WebSocket connection that ASGI lacks: pings, and messages that bypass the application's queue and tasks.

A call sends and receives fifty sound messages a second. Through ASGI each one wakes a task and pauses reading. Independent of the server:
`protocol` implements the connection, and tests use their own or none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from starlette.websockets import WebSocket

EXTENSION: Final = "active_call.connection"
"""The key of the connection in the extensions of the ASGI scope."""


class Connection(Protocol):
    """One connection; `protocol.SocketProtocol` implements it."""

    heard_at: float
    take_bytes: Callable[[bytes], bool] | None
    """Called with each binary message on arrival; False: the application gets the message. Must not block."""
    take_text: Callable[[str], bool] | None

    def send_now(self, message: str | bytes) -> bool:
        """Send a message immediately. False if nothing was sent, because the client reads too slowly or has disconnected."""
        ...

    def ping(self, payload: bytes) -> None: ...

    def abort(self) -> None: ...


def connection_of(client: WebSocket) -> Connection | None:
    """The connection of `client`; None if the server does not provide one."""
    found: Connection | None = client.scope.get("extensions", {}).get(EXTENSION)
    return found


class Outgoing:
    """Sends messages to a client in order and never blocks. If the client reads too slowly, at most `most` messages are queued.

    If the queue is full, the oldest message is dropped. A task sends the queued messages, which it takes with `get`.
    """

    def __init__(self, connection: Connection | None, most: int) -> None:
        self._connection = connection
        self._waiting: deque[str | bytes] = deque(maxlen=most)
        self._has_news = asyncio.Event()
        self._is_sending = True
        """An earlier message is still being sent, or the task has not started."""
        self._is_closed = False
        self.n_dropped = 0
        """The number of messages dropped from the full queue."""

    def put(self, message: str | bytes) -> None:
        """Send `message` immediately, or queue it behind earlier ones."""
        if not self._is_sending and self._connection is not None and self._connection.send_now(message):
            return
        self._is_sending = True
        self.n_dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(message)
        self._has_news.set()

    def discard(self) -> None:
        """Drop the queued messages."""
        self._waiting.clear()

    def close(self) -> None:
        """No more messages follow."""
        self._is_closed = True
        self._has_news.set()

    async def get(self) -> str | bytes | None:
        """Wait for the next queued message; None after the last one."""
        while not self._waiting:
            if self._is_closed:
                return None
            self._has_news.clear()
            self._is_sending = False
            await self._has_news.wait()
        self._is_sending = True
        return self._waiting.popleft()
