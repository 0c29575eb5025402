"""The vendor's side of one WebSocket, with switchable faults. `websockets`' sans-IO server does the framing (RFC 6455)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from active_call.testing.vendors.wire.faults import Faults, with_wrong_types

READ_BYTES: Final = 256 * 1024
_SILENT: Final = logging.getLogger("active_call.simulated_vendors")
_SILENT.setLevel(logging.CRITICAL + 1)
"""The vendor's log must not appear in the program's log."""


def order_in(message: str | bytes) -> Mapping[str, Any]:
    """The JSON object in a text message; empty for any other message."""
    if isinstance(message, bytes):
        return {}
    try:
        order = json.loads(message)
    except ValueError:
        return {}
    return order if isinstance(order, dict) else {}


class SocketClosed(Exception):
    """The client has closed the WebSocket or disconnected."""


class VendorSocket:
    """One open WebSocket. Call `accept` first. `n_sent` counts the messages sent to the client."""

    def __init__(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: Faults, subprotocol: str | None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self._protocol = ServerProtocol(
            max_size=None, logger=_SILENT, select_subprotocol=lambda _protocol, _offered: Subprotocol(subprotocol) if subprotocol else None
        )
        self._head = head
        self._arrived: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._part_opcode = Opcode.TEXT
        self.n_sent = 0

    async def accept(self) -> None:
        """Finish the handshake. Raises SocketClosed if it is not a handshake."""
        self._protocol.receive_data(self._head)
        (request, *_) = self._protocol.events_received()
        assert isinstance(request, Request)
        self._protocol.send_response(self._protocol.accept(request))
        await self._flush()
        if self._protocol.state is not State.OPEN:
            raise SocketClosed
        if self._faults.delay_s:
            await asyncio.sleep(self._faults.delay_s)

    async def receive(self, timeout_s: float | None = None) -> str | bytes:
        """Receive the next message. Raises SocketClosed at the end, and TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self._arrived:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    raise SocketClosed
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    if isinstance(event, Frame):
                        self._take(event)
                await self._flush()
                if self._protocol.state is not State.OPEN and not self._arrived:
                    raise SocketClosed
        return self._arrived.popleft()

    async def send_json(self, message: Mapping[str, Any], *, head: str = "") -> None:
        """Send a message, modified by the active faults; `head` precedes it."""
        if self._faults.is_garbage:
            await self.send("<html>not what you expect")
        else:
            await self.send(head + json.dumps(with_wrong_types(message) if self._faults.wrong_types else message))

    async def send(self, message: str | bytes) -> None:
        """Send a message; the connection is closed first if `close_after` is reached. Raises SocketClosed."""
        faults = self._faults
        if faults.is_silent:
            return
        if faults.close_after is not None and self.n_sent >= faults.close_after:
            await self._break(faults.close_code)
        if self._protocol.state is not State.OPEN:
            raise SocketClosed
        self.n_sent += 1
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        await self._flush()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with `code`, unless the WebSocket is already closed."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            await self._flush()

    async def _break(self, code: int | None) -> None:
        if code is None:
            self._writer.transport.abort()
        else:
            await self.close(code, "told to break")
        raise SocketClosed

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts, self._part_opcode = [bytes(frame.data)], frame.opcode
        elif frame.opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
        else:
            return
        if frame.fin:
            data = b"".join(self._parts)
            self._arrived.append(data.decode() if self._part_opcode is Opcode.TEXT else data)

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
            else:
                self._writer.write_eof()
        await self._writer.drain()
