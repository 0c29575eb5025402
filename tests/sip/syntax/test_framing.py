"""Messages, pings and pongs out of a byte stream, however it is cut."""

from __future__ import annotations

import pytest

from active_call.base.errors import ParseError
from active_call.sip.syntax.framing import Ping, Pong, StreamFramer
from active_call.sip.syntax.message import parse_leniently

OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a SIP/2.0\r\nl:\r\n 6\r\nVia: SIP/2.0/TCP h\r\n\r\n\r\n\r\nhi"


def drain(framer: StreamFramer, *pieces: bytes) -> list[object]:
    return [item for piece in pieces for item in framer.feed(piece)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


STREAM = b"\r\n" + OPTIONS + b"\r\n\r\n" + MESSAGE + b"\r\n\r\n\r\n\r\n\r\n" + OPTIONS
ITEMS = [OPTIONS, Ping(), MESSAGE, Ping(), Ping(), OPTIONS]


def test_feed_whole_and_byte_by_byte_give_the_same() -> None:
    assert drain(StreamFramer(), STREAM) == ITEMS
    assert drain(StreamFramer(), *byte_by_byte(STREAM)) == ITEMS


@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_feed_in_pieces_gives_the_same(size: int) -> None:
    assert drain(StreamFramer(), *(STREAM[at : at + size] for at in range(0, len(STREAM), size))) == ITEMS


def test_feed_lone_line_break_is_passed_over_unless_a_pong_is_due() -> None:
    framer = StreamFramer()
    assert drain(framer, b"\r\n", OPTIONS) == [OPTIONS]
    framer.expect_pong()
    assert drain(framer, b"\r", b"\n") == [Pong()]
    assert drain(framer, b"\r\n\r\n") == [Ping()]


@pytest.mark.parametrize(
    "head",
    [
        b"OPTIONS sip:a SIP/2.0\r\nVia: h\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 5x\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nX-Content-Length: 1\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0\r\nSubject: x\r\n Content-Length: 1\r\n\r\n",
    ],
)
def test_feed_without_a_usable_length_raises_after_what_was_whole(head: bytes) -> None:
    framer = StreamFramer()
    assert framer.feed(OPTIONS + head) == [OPTIONS]
    assert framer.failure is not None
    assert framer.rejected == head
    with pytest.raises(ParseError):
        framer.feed(b"")
    lone = StreamFramer()
    with pytest.raises(ParseError):
        lone.feed(head)


def test_feed_failure_leaves_enough_for_a_last_answer() -> None:
    framer = StreamFramer()
    with pytest.raises(ParseError):
        framer.feed(OPTIONS.replace(b"Content-Length: 0\r\n", b""))
    request = parse_leniently(framer.rejected)
    assert request is not None and request.headers.get("Via") == "SIP/2.0/TCP h"


def test_feed_equal_lengths_are_one() -> None:
    data = OPTIONS.replace(b"\r\n\r\n", b"\r\nL : 0\r\n\r\n")
    assert StreamFramer().feed(data) == [data]


@pytest.mark.parametrize("whole", [True, False])
def test_feed_headers_up_to_the_limit_pass_and_beyond_it_raise(whole: bool) -> None:
    limit = len(OPTIONS) - 4
    pieces = [OPTIONS] if whole else byte_by_byte(OPTIONS)
    assert drain(StreamFramer(max_header_bytes=limit), *pieces) == [OPTIONS]
    with pytest.raises(ParseError):
        drain(StreamFramer(max_header_bytes=limit - 1), *pieces)


def test_feed_body_beyond_the_limit_raises_before_it_arrives() -> None:
    with pytest.raises(ParseError):
        StreamFramer(max_body_bytes=9).feed(b"MESSAGE sip:a SIP/2.0\r\nl: 10\r\n\r\n")


def test_feed_endless_garbage_is_not_kept() -> None:
    framer = StreamFramer(max_header_bytes=1000)
    with pytest.raises(ParseError):
        drain(framer, *[b"x" * 100] * 20)
    assert len(framer.rejected) <= 1000
