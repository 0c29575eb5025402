"""Link messages to bytes and back: a 4-byte big-endian length, then MessagePack.

Messages enter and framed bytes leave, or bytes in any portions enter and whole messages leave. Knows no socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from active_call.base.blocking_frames import LENGTH_BYTES
from active_call.base.errors import LocalProtocolError, ParseError
from active_call.media.link.messages import Link, Order, Report

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""An hour of 8 kHz sound in one message; anything longer is a broken stream."""

_encoder = msgspec.msgpack.Encoder()


def frame(message: Link) -> bytes:
    """One message as it stands on the link. Raises LocalProtocolError for one that cannot be written."""
    try:
        body = _encoder.encode(message)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:  # a number or a text that no other process can be told
        raise LocalProtocolError(f"{type(message).__name__}: {error}") from error
    if len(body) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"{type(message).__name__}: {len(body)} bytes are too many")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def take_frames(buffer: bytearray) -> list[bytes]:
    """The message bodies that are complete in `buffer`, which keeps the rest. Raises ParseError on a length that cannot be."""
    bodies = []
    start = 0
    while len(buffer) - start >= LENGTH_BYTES:
        size = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
        if size > MAX_MESSAGE_BYTES:
            raise ParseError("link message length", expected=f"at most {MAX_MESSAGE_BYTES}", found=str(size))
        stop = start + LENGTH_BYTES + size
        if stop > len(buffer):
            break
        bodies.append(bytes(memoryview(buffer)[start + LENGTH_BYTES : stop]))
        start = stop
    if start:
        del buffer[:start]
    return bodies


class _FrameReader:
    """Cuts a byte stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises ParseError on a length that cannot be."""
        self._buffer += data
        return take_frames(self._buffer)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is none of those known: the stream it names (0: none), its tag, and what is wrong with it."""

    stream: int
    tag: str
    reason: str


class OrderReader:
    """Bytes from the control process to orders. Raises ParseError where the stream of bytes is broken."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)

    def feed(self, data: bytes) -> list[Order | Unreadable]:
        """Take a portion of bytes; return the messages that it completes. Raises ParseError."""
        return [_read(self._decoder, body) for body in self._frames.split(data)]


class ReportReader:
    """Bytes from a media process to reports. Raises ParseError where the stream of bytes is broken."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

    def feed(self, data: bytes) -> list[Report | Unreadable]:
        """Take a portion of bytes; return the messages that it completes. Raises ParseError."""
        bodies, decode = self._frames.split(data), self._decoder.decode
        try:
            return [decode(body) for body in bodies]
        except (msgspec.MsgspecError, ValueError):
            return [_read(self._decoder, body) for body in bodies]


def _read(decoder: Any, body: bytes) -> Any:
    """One message that cannot be read costs nothing but itself."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        return _unreadable(body, str(error))


def _unreadable(body: bytes, reason: str) -> Unreadable:
    try:
        fields = msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, ValueError):
        fields = None
    match fields:
        case [str(tag), int(stream), *_]:
            return Unreadable(stream, tag, reason)
        case _:
            return Unreadable(0, "", reason)
