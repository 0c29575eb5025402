"""SIP over WebSocket (RFC 7118): one connection, one SIP message per WebSocket message.

In: bytes of an accepted or opened connection. Out: whole messages to the owner; frames on the wire. The sans-IO protocol of `websockets`
implements handshake, masks, fragments and control frames; this module connects it to the transport. Both sides must use the subprotocol
`sip` (§5.1). A message that is UTF-8 is sent as a text frame, any other as a binary frame (§5.2).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from active_call.net.sip_sockets import StreamConnection, StreamOwner
from active_call.net.web_pages import may_open
from active_call.sip.events import TransportName
from active_call.sip.routing import bracketed

SUBPROTOCOL = Subprotocol("sip")
MAX_MESSAGE_BYTES = 65_535
"""The maximum size of a datagram."""

MAX_CONTROL_FRAMES = 10_000
"""Maximum number of pings, pongs and empty fragments without a message in between: one a second for almost three hours."""

_quiet = logging.getLogger("active_call.sip.websocket")
_quiet.setLevel(logging.WARNING)


def server_protocol() -> ServerProtocol:
    """The server side."""
    return ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES, logger=_quiet)


def client_protocol(host: str, port: int, *, is_secure: bool) -> ClientProtocol:
    """The client side. A SIP URI has no path, so `/` is requested."""
    uri = parse_uri(f"{'wss' if is_secure else 'ws'}://{bracketed(host)}:{port}/")
    return ClientProtocol(uri, subprotocols=[SUBPROTOCOL], max_size=MAX_MESSAGE_BYTES, logger=_quiet)


class WebSocketConnection(StreamConnection):
    """A `StreamConnection` for WebSocket. `opened` is set when the handshake has succeeded."""

    is_message_based = True

    def __init__(
        self,
        owner: StreamOwner,
        connection_id: int,
        transport_name: TransportName,
        now: float,
        protocol: ServerProtocol | ClientProtocol,
        *,
        is_outgoing: bool,
        web_hosts: Sequence[str] = (),
    ) -> None:
        super().__init__(owner, connection_id, transport_name, now, is_outgoing=is_outgoing)
        self.opened = asyncio.Event()
        self._web_hosts = web_hosts
        self._protocol = protocol
        self._parts = bytearray()
        self._half_since: float | None = None
        self._n_control_frames = 0

    @property
    def is_open(self) -> bool:
        return super().is_open and self._protocol.state is State.OPEN

    def send(self, data: bytes, now: float) -> bool:
        if not self.is_open:
            return False
        try:
            data.decode()
        except UnicodeDecodeError:
            self._protocol.send_binary(data)
        else:
            self._protocol.send_text(data)
        return self._flush(now)

    def ping(self, now: float) -> None:
        if self.is_open:
            self._protocol.send_ping(b"")
            self._flush(now)

    def close(self, why: str) -> None:
        if self.is_open:
            self._protocol.send_close(1001, "")
            self._flush(self.last_sent_at)
        super().close(why)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(self._protocol, ClientProtocol):
            self._protocol.send_request(self._protocol.connect())
            self._flush(self.last_sent_at)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            match event:
                case Request():
                    self._answer(event)
                case Response():
                    self._take_response()
                case Frame():
                    self._take_frame(event)
        if self._n_control_frames > MAX_CONTROL_FRAMES:
            self._owner.on_stream_refused(self, "keepalive_flood")
            self.abort("too many pings")
            return
        self._flush(self.last_sent_at)
        if self._protocol.close_expected():
            self._end()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.opened.set()  # the waiter then sees that it is not open
        super().connection_lost(exc)

    # -- inside

    def _answer(self, request: Request) -> None:
        assert isinstance(self._protocol, ServerProtocol)  # noqa: S101 (only a server gets requests)
        headers = request.headers
        host, is_secure = ", ".join(headers.get_all("Host")), self._transport_name == "wss"
        if all(may_open(origin, host, self._web_hosts, is_secure=is_secure) for origin in headers.get_all("Origin")):
            response = self._protocol.accept(request)
        else:
            self._owner.on_stream_refused(self, "foreign_page")
            response = self._protocol.reject(403, "pages of other sites are refused; list their hosts in http_hosts\n")
        self._protocol.send_response(response)
        if response.status_code == 101:
            self.has_spoken = True
            self.opened.set()

    def _take_response(self) -> None:
        if self._protocol.handshake_exc is None:
            self.opened.set()
        else:
            self._why = f"the WebSocket handshake failed: {self._protocol.handshake_exc}"

    def _take_frame(self, frame: Frame) -> None:
        self._n_control_frames += 1
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._n_control_frames = 0 if frame.fin and frame.data else self._n_control_frames
            self._parts += frame.data
            if frame.fin:
                message, self._parts = bytes(self._parts), bytearray()
                self._half_since = None
                self._owner.on_stream_message(self, message)

    def half_read_since(self, now: float) -> float | None:
        if not (self._parts or self._protocol.reader.buffer):
            self._half_since = None
        elif self._half_since is None:
            self._half_since = now
        return self._half_since

    def _end(self) -> None:
        """A close frame was received, or the handshake or a frame was invalid."""
        error = self._protocol.parser_exc or self._protocol.handshake_exc
        if isinstance(error, PayloadTooBig):
            self._owner.on_stream_refused(self, "message_size")
        super().close(f"WebSocket: {error}" if error is not None else "closed by the peer")

    def _flush(self, now: float) -> bool:
        """Write what the protocol wants to send. An empty piece requests the end of the stream, which `_end` does."""
        sent = True
        for piece in self._protocol.data_to_send():
            if piece:
                sent = super().send(piece, now) and sent
        return sent
