"""Encode and decode link messages: a 4-byte big-endian length, then MessagePack.

Messages go in and framed bytes come out, or bytes in any portions go in and whole messages come out. This module knows no socket.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec
from msgspec import Struct

from active_call.base.blocking_frames import LENGTH_BYTES
from active_call.base.errors import LocalProtocolError, ParseError
from active_call.media.link.messages import Link, Order, Report

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""An hour of 8 kHz sound in one message. A larger length means a corrupt stream."""

_LENGTH: Final = struct.Struct(">I")

_encoder = msgspec.msgpack.Encoder()


def frame(message: Link) -> bytes:
    """Encode one message. Raises LocalProtocolError if it cannot be encoded."""
    try:
        body = _encoder.encode(message)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:  # a number or a text that the encoding cannot represent
        raise LocalProtocolError(f"{type(message).__name__}: {error}") from error
    if len(body) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"{type(message).__name__}: {len(body)} bytes are too many")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def take_frames(buffer: bytearray) -> list[bytes]:
    """Remove the complete message bodies from `buffer` and return them. Raises ParseError for an invalid length."""
    bodies = []
    start, n_bytes = 0, len(buffer)
    with memoryview(buffer) as view:
        while n_bytes - start >= LENGTH_BYTES:
            (size,) = _LENGTH.unpack_from(view, start)
            if size > MAX_MESSAGE_BYTES:
                raise ParseError("link message length", expected=f"at most {MAX_MESSAGE_BYTES}", found=str(size))
            stop = start + LENGTH_BYTES + size
            if stop > n_bytes:
                break
            bodies.append(view[start + LENGTH_BYTES : stop].tobytes())
            start = stop
    if start:
        del buffer[:start]
    return bodies


class _FrameReader:
    """Splits a byte stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises ParseError for an invalid length."""
        self._buffer += data
        return take_frames(self._buffer)


class Unreadable(Struct, frozen=True):
    """A message that cannot be decoded: the stream that it names (0: none), its tag, and the error."""

    stream: int
    tag: str
    reason: str


class OrderReader:
    """Decodes bytes from the control process to orders. Raises ParseError if the byte stream is corrupt."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)

    def feed(self, data: bytes) -> list[Order | Unreadable]:
        """Take bytes; return the messages that they complete. Raises ParseError."""
        return [_read(self._decoder, body) for body in self._frames.split(data)]


class ReportReader:
    """Decodes bytes from a media process to reports. Raises ParseError if the byte stream is corrupt."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

    def feed(self, data: bytes) -> list[Report | Unreadable]:
        """Take bytes; return the messages that they complete. Raises ParseError."""
        bodies, decode = self._frames.split(data), self._decoder.decode
        try:
            return [decode(body) for body in bodies]
        except (msgspec.MsgspecError, ValueError):
            return [_read(self._decoder, body) for body in bodies]


def _read(decoder: Any, body: bytes) -> Any:
    """Decode one message. An undecodable one becomes `Unreadable`, and the others are not affected."""
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
