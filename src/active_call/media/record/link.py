"""The messages between a media process and its recorder process, and their framing.

They travel over a Unix stream socket; each message is a 4-byte big-endian length and a MessagePack array. Tick numbers keep the two
channels and the clock aligned when messages are lost. This module loads no numpy: the recorder process of a WAV file starts in half the
time without it.
"""

from __future__ import annotations

import socket

import msgspec

from active_call.base.blocking_frames import LENGTH_BYTES, receive_frame
from active_call.media.link.message import Link
from active_call.media.link.reports import RecordingEnded


class BeginRecording(Link, frozen=True, array_like=True, tag="begin"):
    """Open the file at `path`; its extension selects the format. It starts with the first frame that is written."""

    recording: int
    stream: int
    path: str
    rate_hz: int
    flush_ms: int


class RecordPiece(Link, frozen=True, array_like=True, tag="piece"):
    """One tick's sound of several recordings at one rate, concatenated in `data`: (recordings, samples, 2) int16."""

    tick: int
    recordings: tuple[int, ...]
    data: bytes


class EndRecording(Link, frozen=True, array_like=True, tag="end"):
    """Finish the file before the frame of `tick`."""

    recording: int
    tick: int


class Ended(Link, frozen=True, array_like=True, tag="ended"):
    """The file of `recording` is complete, or writing it has failed."""

    recording: int
    report: RecordingEnded


RecorderOrder = BeginRecording | RecordPiece | EndRecording

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[RecorderOrder] = msgspec.msgpack.Decoder(RecorderOrder)


def framed(message: Link) -> bytearray:
    """Encode one message."""
    whole = bytearray(LENGTH_BYTES)
    _encoder.encode_into(message, whole, LENGTH_BYTES)
    whole[:LENGTH_BYTES] = (len(whole) - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
    return whole


def receive_order(connection: socket.socket) -> RecorderOrder | None:
    """The next order, or None if the other side has closed or died. Blocks."""
    body = receive_frame(connection)
    return _orders.decode(body) if body is not None else None
