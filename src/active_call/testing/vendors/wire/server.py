"""A vendor's server on loopback: HTTP/1.1 requests and WebSockets on one port, with faults by switch.

A vendor extends `VendorServer`: `respond` answers a request, `check_handshake` checks a WebSocket handshake, `serve` handles the WebSocket.
`complaints` lists the errors of clients, for tests. HTTP follows RFC 9112 as far as API clients use it (Content-Length and chunked bodies,
persistent connections); `websockets`' sans-IO server handles WebSockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from active_call.testing.vendors.wire.faults import Faults, with_wrong_types
from active_call.testing.vendors.wire.socket import SocketClosed, VendorSocket

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are in lower case; `query` holds the last value of each name, `pairs` all in order."""

    method: str
    path: str
    query: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    head: bytes
    """The unparsed request, for a WebSocket handshake."""

    @property
    def is_websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    def json(self) -> Any:
        """The body as JSON. Raises Refused if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(400, {"error": {"message": "the body is not JSON"}}) from None


@dataclass(frozen=True, slots=True)
class Response:
    """A response: the body as bytes, as JSON (a mapping or a list), or as a stream of pieces."""

    status: int = 200
    body: bytes | Mapping[str, Any] | list[Any] | AsyncGenerator[bytes, None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The vendor refuses a request or a handshake. `body` is its explanation."""

    def __init__(self, status: int, body: Mapping[str, Any] | bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}")
        self.response = Response(status, body, headers or {})


class VendorServer:
    """`async with DeepgramServer() as server:` listens on `server.port`. `key` is the only valid key."""

    key = "right-key-0123456789abcdef"

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.requests: list[Request] = []
        """Every request and handshake with its body, including refused ones, in order of arrival."""
        self.complaints: list[str] = []
        """Violations of the vendor's rules by clients."""
        self.n_open = 0
        """The number of open WebSockets."""
        self.n_sockets = 0
        """The number of WebSockets opened so far."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[VendorSocket] = set()

    # -- what a vendor says

    def check_handshake(self, request: Request) -> None:
        """Raise Refused for a handshake that the vendor refuses."""
        raise Refused(404, b"no WebSocket here")

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        """Handle an open WebSocket until it is closed; a return closes it with 1000."""
        raise NotImplementedError

    async def respond(self, request: Request) -> Response:
        """Answer a request that is not a handshake. May raise Refused."""
        raise Refused(404, {"error": {"message": "unknown path"}})

    # -- life

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the server is not open")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512, limit=MAX_HEAD_BYTES)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop_all()

    async def drop_all(self) -> None:
        """Abort every connection, as when a vendor's machine fails."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def complain(self, what: str) -> None:
        """Record an error of a client."""
        self.complaints.append(what)

    # -- connections

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._take_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, SocketClosed, ValueError):
            pass  # the client has disconnected, or is not an HTTP client
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _take_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; returns whether the connection stays open."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        request = await _read_request(head, reader)
        self.requests.append(request)
        try:
            self._check_faults(request)
            if request.is_websocket:
                self.check_handshake(request)
                await self._open_socket(request, reader, writer)
                return False
            response = await self.respond(request)
        except Refused as refusal:
            response = refusal.response
        await self._send_response(response, writer)
        return request.headers.get("connection", "").lower() != "close"

    def _check_faults(self, request: Request) -> None:
        faults = self.faults
        if faults.status is not None:
            raise Refused(faults.status, {"error": {"message": f"told to say {faults.status}"}})
        if faults.refuse_after is not None and len(self.requests) > faults.refuse_after:
            raise Refused(503, {"error": {"message": "overloaded"}})

    async def _open_socket(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = VendorSocket(request.head, reader, writer, self.faults, self.chosen_subprotocol(request))
        await socket.accept()
        self.n_open += 1
        self.n_sockets += 1
        self._sockets.add(socket)
        try:
            await self.serve(socket, request)
            await socket.close()
        finally:
            self.n_open -= 1
            self._sockets.discard(socket)

    def chosen_subprotocol(self, request: Request) -> str | None:
        """The subprotocol to select among those that the client offers; None: the vendor supports none."""
        return None

    async def _send_response(self, response: Response, writer: asyncio.StreamWriter) -> None:
        faults = self.faults
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.is_silent:
            await asyncio.Event().wait()
        headers = {"content-type": "application/json", **response.headers}
        body = response.body
        if isinstance(body, Mapping | list):
            body = self._spoiled(body) if 200 <= response.status < 300 else json.dumps(body).encode()
        if isinstance(body, bytes):
            headers["content-length"] = str(len(body))
            writer.write(_head(response.status, headers) + body)
            await writer.drain()
            return
        headers["transfer-encoding"] = "chunked"
        writer.write(_head(response.status, headers))
        n_pieces = 0
        async with contextlib.aclosing(body) as pieces:
            async for piece in pieces:
                if faults.close_after is not None and n_pieces >= faults.close_after:
                    raise ConnectionResetError("told to break")
                n_pieces += 1
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _spoiled(self, value: Any) -> bytes:
        if self.faults.is_garbage:
            return b"<html>not what you expect"
        return json.dumps(with_wrong_types(value) if self.faults.wrong_types else value).encode()


async def _read_request(head: bytes, reader: asyncio.StreamReader) -> Request:
    """Parse an HTTP request. Raises ValueError if it is not one."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b"".join([piece async for piece in _chunks(reader)])
    else:
        n_bytes = int(headers.get("content-length", 0))
        if n_bytes > MAX_BODY_BYTES:
            raise ValueError("the body is too long")
        body = await reader.readexactly(n_bytes) if n_bytes else b""
    parts = urlsplit(target)
    pairs = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, parts.path, dict(pairs), pairs, headers, body, head)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a chunked body (RFC 9112 §7.1)."""
    while n_bytes := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(n_bytes)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    return "\r\n".join([f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


def require(condition: object, status: int, body: Mapping[str, Any]) -> None:
    """Raise Refused unless `condition` holds."""
    if not condition:
        raise Refused(status, body)


def all_of(pairs: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value of a query parameter that may be repeated."""
    return [value for key, value in pairs if key == name]
