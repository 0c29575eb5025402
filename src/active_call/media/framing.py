"""Link messages to bytes and back: a 4-byte big-endian length, then MessagePack.

Messages enter and framed bytes leave, or bytes in any portions enter and whole messages leave. Knows no socket.
"""

from __future__ import annotations

from typing import Final

import msgspec

from active_call.base.errors import ParseError
from active_call.media.link import Link, Order, Report

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""An hour of 8 kHz sound in one message; anything longer is a broken stream."""

_LENGTH_BYTES: Final = 4
_encoder = msgspec.msgpack.Encoder()


def frame(message: Link) -> bytes:
    """One message as it stands on the link."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class _FrameReader:
    """Cuts a byte stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def split(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises ParseError on a length that cannot be."""
        buffer = self._buffer
        buffer += data
        bodies = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            size = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
            if size > MAX_MESSAGE_BYTES:
                raise ParseError("link message length", expected=f"at most {MAX_MESSAGE_BYTES}", found=str(size))
            stop = start + _LENGTH_BYTES + size
            if stop > len(buffer):
                break
            bodies.append(bytes(memoryview(buffer)[start + _LENGTH_BYTES : stop]))
            start = stop
        if start:
            del buffer[:start]
        return bodies


class OrderReader:
    """Bytes from the control process to orders. Raises ParseError on anything that is none."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)

    def feed(self, data: bytes) -> list[Order]:
        try:
            return [self._decoder.decode(body) for body in self._frames.split(data)]
        except (msgspec.MsgspecError, ValueError) as error:
            raise ParseError("link order", found=str(error)) from error


class ReportReader:
    """Bytes from a media process to reports. Raises ParseError on anything that is none."""

    def __init__(self) -> None:
        self._frames = _FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

    def feed(self, data: bytes) -> list[Report]:
        try:
            return [self._decoder.decode(body) for body in self._frames.split(data)]
        except (msgspec.MsgspecError, ValueError) as error:
            raise ParseError("link report", found=str(error)) from error
