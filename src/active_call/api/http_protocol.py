"""One HTTP connection: uvicorn's protocol over h11, with deadlines for everything that a client must do.

A client must send a request's headers, then its body, and read the response, each within its time (RFC 9112, section 9.5 leaves the times
to us). A connection is not closed without a response before all deadlines have passed. A request refused before its body has come gets its
response, and the rest of the body is discarded for a moment, so that the client can read the response.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from active_call.api.connections import Connections
from active_call.api.walls import error_body

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 64 * 1024 * 1024
MAX_SMALL_PIECES: Final = 1024
SMALL_BYTES: Final = 64
"""A body with more pieces than this, of few bytes on average, would keep the loop too busy."""


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """uvicorn's warnings are about client faults, so they are logged at debug level: clients must not be able to fill the log."""

    level = logging.DEBUG

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(level if level >= logging.ERROR else logging.DEBUG, msg, *args, **kwargs)


_LOG: Final = _Quiet(logging.getLogger("active_call.api.connection"), {})
_OF_BODIES: Final = frozenset((b"content-length", b"transfer-encoding"))
_SECONDS: Final = {h11.IDLE: "header_s", h11.SEND_BODY: "body_s"}


class _Reader(h11.Connection):
    """h11's state of one connection. Refuses a body in very many tiny chunks, and a request that tells the length of its body twice.

    A proxy before us may use the other length, and then what follows would be another client's request (RFC 9112 §6.1, §11.2).
    """

    _n_pieces = 0
    _n_bytes = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._n_pieces = self._n_bytes = 0
            if len(_OF_BODIES & {name for name, _ in event.headers}) > 1:
                raise h11.RemoteProtocolError("Content-Length and Transfer-Encoding in one request")
        elif isinstance(event, h11.Data):
            self._n_pieces += 1
            self._n_bytes += len(event.data)
            if self._n_pieces > MAX_SMALL_PIECES and self._n_bytes < SMALL_BYTES * self._n_pieces:
                raise h11.RemoteProtocolError("the body arrives in too many small chunks")
        return event


class BoundedHttp(H11Protocol):
    """Serves one connection of `connections`."""

    def __init__(self, config: uvicorn.Config, server_state: ServerState, connections: Connections) -> None:
        super().__init__(config, server_state, {})
        self.conn = _Reader(h11.SERVER, config.h11_max_incomplete_event_size or connections.limits.header_bytes)
        self.logger = _LOG  # type: ignore[assignment]
        self._connections = connections
        self._limits = connections.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._owed: Any = None
        """The client's state to which the deadline belongs."""
        self._unread: asyncio.TimerHandle | None = None
        self._n_lingered = -1
        self._is_unwanted = False
        self._is_upgraded = False

    def give_way(self) -> None:
        """Close the connection now."""
        self._is_unwanted = True
        if self.transport is not None:
            self.transport.abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._is_unwanted:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._forget_deadline()
        self.resume_writing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._n_lingered >= 0:
            self._n_lingered += len(data)
            if self._n_lingered > LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_s, self._give_up, "http_unread_answer")

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if self.flow is not None:
            super().resume_writing()

    # -- uvicorn

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._linger()
        else:
            self._connections.waits(self, self.conn.their_state is h11.IDLE)

    def send_400_response(self, msg: str) -> None:
        self._connections.refusals.note("http_malformed", self.client[0] if self.client else "")
        body = error_body(400, msg)
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        try:
            for event in (h11.Response(status_code=400, headers=headers, reason="Bad Request"), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # a response has begun already
            self.transport.abort()
        else:
            self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection continues under another protocol; it is counted until its end.

        The request of a WebSocket has no body (RFC 6455, section 4.1: a GET); one that announces a body is refused.
        """
        if any(name in _OF_BODIES for name, _ in event.headers):
            self.send_400_response("a request for a WebSocket has no body")
            return
        self._is_upgraded = True
        self._forget_deadline()
        self._connections.waits(self, is_waiting=False)
        super().handle_websocket_upgrade(event)
        successor: Any = self.transport.get_protocol()
        lost = successor.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            del successor.connection_lost  # otherwise both protocols are left to the garbage collector
            self._connections.closed(self)
            lost(exc)

        successor.connection_lost = connection_lost

    # -- deadlines

    def _watch(self) -> None:
        """Set the deadline for the client's next step."""
        if self._is_upgraded:
            return
        owed = self.conn.their_state if self.conn.their_state in _SECONDS and not self.transport.is_closing() else None
        if owed is self._owed:
            return
        self._forget_deadline()
        self._owed = owed
        self._connections.waits(self, is_waiting=owed is not None)
        if owed is not None:
            seconds = getattr(self._limits, _SECONDS[owed])
            self._deadline = self.loop.call_later(seconds, self._give_up, "http_slow_request")

    def _forget_deadline(self) -> None:
        self._owed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, rule: str) -> None:
        self._connections.refusals.note(rule, self.client[0] if self.client else "")
        self.transport.abort()

    def _linger(self) -> None:
        """The response is sent and the rest of the body is not needed: discard it for a moment, then close."""
        self._n_lingered = 0
        self._unset_keepalive_if_required()
        self._forget_deadline()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)
