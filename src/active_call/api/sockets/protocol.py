"""One WebSocket connection: uvicorn's protocol with our own pings and limits for a client that does not read or is gone.

A ping's payload is the time (RFC 3339), as clients of the contract expect; the application decides when to send it. A client that reads
nothing for `UNREAD_S` is disconnected, so that nothing waits for it forever (RFC 6455, section 7.1.1 leaves this to us). Messages may
bypass ASGI in both directions (`connection.Connection`); they stay in order with the others. Such a message in one frame bypasses the
library's parser too (`frames`), which gets all other frames.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.protocol import OPEN

from active_call.api.sockets.connection import EXTENSION
from active_call.api.sockets.frames import BINARY, TEXT, FrameCutter
from active_call.base.bulk_input import BulkInput, BulkSource
from active_call.base.world import SystemClock

UNREAD_S: Final = 30.0
BYTES_AT_ONCE: Final = 8192
"""As much is handled together; with a carrier's sound it takes some 2 ms."""
HANDSHAKE_S: Final = 10.0
"""How long the request that opens a socket may take to be read. It has come already; a part that is missing never comes."""
MAX_FRAGMENTS: Final = 10_000
"""Frames of one message. Empty ones count nothing for the limit of its size, but take memory."""
log = logging.getLogger("active_call.api")
_LOG: Final = logging.getLogger("active_call.api.connection")
_LOG.setLevel(logging.ERROR)


class SocketProtocol(WebSocketsSansIOProtocol):
    """Serves one WebSocket. What the client sends is handled in the time of `bulk`, since it may be sound."""

    def __init__(self, *args: Any, bulk: BulkInput | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._input: BulkSource[bytes] = BulkSource(bulk or BulkInput(SystemClock()), self._handle_data, self._pause, self._resume)
        self.logger = _LOG
        self.conn.logger = _LOG
        self._unread: asyncio.TimerHandle | None = None
        self._frames: FrameCutter | None = None
        """Once the client may send frames."""
        self._unopened: asyncio.TimerHandle | None = None
        self.heard_at = self.loop.time()
        """When the last data came from the client, in the loop's time."""
        self.take_bytes: Callable[[bytes], bool] | None = None
        self.take_text: Callable[[str], bool] | None = None

    def ping(self, payload: bytes) -> None:
        """Send a ping frame, unless the connection is closing."""
        if self.close_sent or self.transport.is_closing():
            return
        try:
            self.conn.send_ping(payload)
        except InvalidState:
            return
        self.transport.write(b"".join(self.conn.data_to_send()))

    def send_now(self, message: str | bytes) -> bool:
        """See `connection.Connection`. Writes the frame itself: unfragmented, unmasked (section 5.1), without extensions."""
        if not self.handshake_complete or self.close_sent or self.conn.state is not OPEN:
            return False
        if not self.writable.is_set() or self.transport.is_closing():
            return False
        payload, first = (message, BINARY) if isinstance(message, bytes) else (message.encode(), TEXT)
        size = len(payload)
        if size < 126:
            header = bytes((first, size))
        else:
            header = struct.pack("!BBH", first, 126, size) if size < 65_536 else struct.pack("!BBQ", first, 127, size)
        self.transport.write(header + payload)
        return True

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abort()

    # -- uvicorn and asyncio

    async def send(self, message: ASGISendEvent) -> None:
        """A handshake refused with an HTTP response is complete; uvicorn would report each one as a fault of the application.

        It also would where the connection was closed while this message waited for a client that reads slowly.
        """
        await self.writable.wait()
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._unopened = self.loop.call_later(HANDSHAKE_S, self.abort)

    def handle_connect(self, event: Any) -> None:
        self._forget_unopened()
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[Any, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def send_receive_event_to_app(self) -> None:
        """A message is complete. It goes to the application if messages are queued there, so that the order is kept."""
        take = self.take_bytes if self.curr_msg_data_type == "bytes" else self.take_text
        if take is not None and self.queue.empty() and not self.close_sent and self._is_taken():
            self.frames = []
        elif self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(self.frames):
            self._refuse(1007, "not UTF-8")
        else:
            super().send_receive_event_to_app()

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self._refuse(1009, f"message with more than {MAX_FRAGMENTS} frames")

    def _refuse(self, code: int, reason: str) -> None:
        """Fail the connection because of a message (section 7.1.7)."""
        self.frames = []
        self.conn.send_close(code, reason)
        self.handle_parser_exception()

    def _is_taken(self) -> bool:
        data = bytes(self.frames[0]) if len(self.frames) == 1 else b"".join(self.frames)
        if self.curr_msg_data_type == "bytes":
            return self.take_bytes is not None and self.take_bytes(data)
        try:
            text = data.decode()
        except UnicodeDecodeError:  # invalid UTF-8: the ASGI path fails the connection (section 8.1)
            return False
        return self.take_text is not None and self.take_text(text)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        if self._frames is None:  # the request, which the HTTP protocol passes on in one piece
            super().data_received(data)
            self._frames = FrameCutter(self.config.ws_max_size)
        elif len(data) <= BYTES_AT_ONCE:
            self._input.take_one(data)
        else:
            self._input.take(*(data[at : at + BYTES_AT_ONCE] for at in range(0, len(data), BYTES_AT_ONCE)))

    def _handle_data(self, data: bytes) -> None:
        if self._frames is None:
            return
        message = self._frames.whole(data) if self._takes_now else None
        if message is not None and self._takes_whole(*message):
            return
        for frame in self._frames.feed(data):
            if frame.first and self.close_sent:
                continue  # what comes after our close frame is discarded (section 1.4)
            if not (message is None and frame.first and self._takes_now and self._takes_whole(frame.first, frame.payload())):
                super().data_received(frame.data)

    @property
    def _takes_now(self) -> bool:
        """Whether a message in one frame may go past the parser, under the conditions of `send_receive_event_to_app`."""
        has_taker = self.take_bytes is not None or self.take_text is not None
        return has_taker and self.queue.empty() and not self.close_sent and self.conn.state is OPEN

    def _takes_whole(self, first: int, message: bytes) -> bool:
        """Take a message past the parser. False: the parser gets it."""
        if first == BINARY:
            return self.take_bytes is not None and self.take_bytes(message)
        if self.take_text is None:
            return False
        try:
            text = message.decode()
        except UnicodeDecodeError:
            return False
        return self.take_text(text)

    def _pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _resume(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self._drop_unread)

    def _drop_unread(self) -> None:
        path = self.scope["path"] if hasattr(self, "scope") else ""
        log.warning("socket dropped: its client reads nothing", extra={"path": path, "peer": self.client, "for_s": UNREAD_S})
        self.abort()

    def resume_writing(self) -> None:
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unread()
        self._forget_unopened()
        self._input.flush()
        super().connection_lost(exc)
        self.take_bytes = self.take_text = None
        if hasattr(self, "scope"):
            self.scope["extensions"].pop(EXTENSION, None)  # it would be left to the garbage collector

    def _forget_unopened(self) -> None:
        if self._unopened is not None:
            self._unopened.cancel()
            self._unopened = None

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _is_utf8(frames: list[bytes]) -> bool:
    try:
        b"".join(frames).decode()
    except UnicodeDecodeError:
        return False
    return True
