"""Frames cut off before the library's parser: the client's messages and the library's answers are those that it gives without it."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions import Extension
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from active_call.api.sockets.frames import BINARY, TEXT, FrameCutter
from searches import searching

MAX_BYTES = 70_000
REQUEST = (
    b"GET /call HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"\x11\x82\x33\xf4"
Seen = list[tuple[int, bool, bytes]]


def frame(first: int, body: bytes, *, is_masked: bool = True, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = bytes([size]) if size < 126 else struct.pack("!BH", 126, size) if size < 65_536 else struct.pack("!BQ", 127, size)
    head = bytes([first, head[0] | (0x80 if is_masked else 0)]) + head[1:]
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(body[:300])) + body[300:]  # the rest is another body
    return head + (MASK + masked if is_masked else body)


class Library:
    """The library's server after the handshake. `seen`: the data frames and control frames that it reports."""

    def __init__(self) -> None:
        self.protocol = ServerProtocol(extensions=list[Extension](), max_size=MAX_BYTES)  # type: ignore[arg-type]
        self.protocol.receive_data(REQUEST)
        (request,) = self.protocol.events_received()
        assert isinstance(request, Request)
        self.protocol.send_response(self.protocol.accept(request))
        self.protocol.data_to_send()
        self.seen: Seen = []

    def feed(self, data: bytes) -> None:
        if self.protocol.parser_exc is None:
            self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            self.seen.append((int(event.opcode), event.fin, bytes(event.data)))

    @property
    def answered(self) -> bytes:
        return b"".join(self.protocol.data_to_send())


BODIES = st.one_of(
    st.binary(max_size=12), st.sampled_from([b"x" * n for n in (124, 125, 126, 640, 65_535, 65_536, MAX_BYTES, MAX_BYTES + 1)])
)
USUAL = st.builds(frame, st.sampled_from([TEXT, BINARY]), BODIES)
OTHERS = st.one_of(
    st.builds(frame, st.sampled_from([0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]), st.binary(max_size=8)),
    st.just(frame(0x88, struct.pack("!H", 1000))),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=4)),
    st.builds(lambda body: frame(BINARY, body, is_masked=False), st.binary(max_size=4)),
    st.just(frame(BINARY, b"", length=2**63 - 1)),
    st.binary(max_size=6),
)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(place % (len(stream) + 1) for place in at)})
    return [stream[begin:end] for begin, end in pairwise(ends)]


@searching(60)
@given(
    frames=st.lists(st.one_of(USUAL, USUAL, OTHERS), max_size=8),
    at=st.one_of(st.none(), st.lists(st.integers(0, 400_000), max_size=12)),
    is_quick=st.booleans(),
)
def test_client_is_understood_as_by_the_library_alone(frames: list[bytes], at: list[int] | None, is_quick: bool) -> None:
    """`at` None: every frame arrives by itself. `is_quick`: what is one whole message is taken at once."""
    pieces = frames if at is None else cut(b"".join(frames), at)
    alone, behind, cutter = Library(), Library(), FrameCutter(MAX_BYTES)
    for piece in pieces:
        alone.feed(piece)
        if is_quick and behind.protocol.state is OPEN and behind.protocol.parser_exc is None and (whole := cutter.whole(piece)):
            behind.seen.append((int(Opcode.TEXT if whole[0] == TEXT else Opcode.BINARY), True, whole[1]))
            continue
        for part in cutter.feed(piece):
            if part.first and behind.protocol.state is OPEN and behind.protocol.parser_exc is None:
                opcode = Opcode.TEXT if part.first == TEXT else Opcode.BINARY
                behind.seen.append((int(opcode), True, part.payload()))
            else:
                behind.feed(part.data)
    assert behind.seen == alone.seen
    assert behind.protocol.state is alone.protocol.state
    assert behind.answered == alone.answered


def test_large_message_in_small_pieces_is_not_copied_for_each_of_them() -> None:
    cutter, data = FrameCutter(MAX_BYTES), frame(BINARY, b"y" * MAX_BYTES)
    found = [part for at in range(0, len(data), 50) for part in cutter.feed(data[at : at + 50])]
    assert [(part.first, len(part.payload())) for part in found] == [(BINARY, MAX_BYTES)]
