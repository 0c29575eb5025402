"""What a WebSocket's connection can do beyond ASGI: pings, and messages that pass by without the queue and the tasks of the application.

Sound is fifty messages a second each way and call: through ASGI each costs a wake-up of a task and a pause of the reading. Knows no server:
`protocol` has the connection, tests have others or none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from starlette.websockets import WebSocket

EXTENSION: Final = "active_call.connection"
"""Under this name the scope's extensions hold the connection."""


class Connection(Protocol):
    """One connection, as `protocol.SocketProtocol`."""

    heard_at: float
    take_bytes: Callable[[bytes], bool] | None
    """Takes a binary message as it comes; False: it is one for the application. Must not block."""
    take_text: Callable[[str], bool] | None

    def send_now(self, message: str | bytes) -> bool:
        """Send a message at once; False, and nothing is sent, where the client does not keep up or is gone."""
        ...

    def ping(self, payload: bytes) -> None: ...

    def abort(self) -> None: ...


def connection_of(client: WebSocket) -> Connection | None:
    """The connection below `client`; None where the server has none of its own."""
    found: Connection | None = client.scope.get("extensions", {}).get(EXTENSION)
    return found


class Outgoing:
    """Messages on their way to a client, in order. Never blocks: while the client keeps up they leave at once, else `most` of them wait.

    When more would wait, the oldest goes: what is left is in time. `get` gives those that wait, to a task that sends them.
    """

    def __init__(self, connection: Connection | None, most: int) -> None:
        self._connection = connection
        self._waiting: deque[str | bytes] = deque(maxlen=most)
        self._has_news = asyncio.Event()
        self._is_sending = True
        """Something that came earlier is still being sent, or the task has not begun."""
        self._is_closed = False
        self.n_dropped = 0
        """Messages that were too old to be sent."""

    def put(self, message: str | bytes) -> None:
        """Send `message`, now or in its turn."""
        if not self._is_sending and self._connection is not None and self._connection.send_now(message):
            return
        self._is_sending = True
        self.n_dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(message)
        self._has_news.set()

    def discard(self) -> None:
        """Forget what was not sent."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing more comes."""
        self._is_closed = True
        self._has_news.set()

    async def get(self) -> str | bytes | None:
        """The next message, once it is there; None after the last one."""
        while not self._waiting:
            if self._is_closed:
                return None
            self._has_news.clear()
            self._is_sending = False
            await self._has_news.wait()
        self._is_sending = True
        return self._waiting.popleft()
