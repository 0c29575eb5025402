"""One WebSocket connection: uvicorn's protocol with our own pings and limits for a client that does not read or is gone.

A ping's payload is the time (RFC 3339), as clients of the contract expect; the application decides when to send it. A client that reads
nothing for `UNREAD_S` is disconnected, so that nothing waits for it forever (RFC 6455, section 7.1.1 leaves this to us).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

EXTENSION: Final = "active_call.connection"
"""The key of the connection in the scope's extensions."""
UNREAD_S: Final = 30.0
_LOG: Final = logging.getLogger("active_call.api.connection")
_LOG.setLevel(logging.ERROR)


class SocketProtocol(WebSocketsSansIOProtocol):
    """Serves one WebSocket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _LOG
        self.conn.logger = _LOG
        self._unread: asyncio.TimerHandle | None = None
        self.heard_at = self.loop.time()
        """When the last data came from the client, in the loop's time."""

    def ping(self, payload: bytes) -> None:
        """Send a ping frame, unless the connection is closing."""
        if self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_ping(payload)
        except InvalidState:
            return
        self.transport.write(b"".join(self.conn.data_to_send()))

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abort()

    # -- uvicorn and asyncio

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[Any, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.abort)

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unread()
        super().connection_lost(exc)

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
