"""RTP headers against hand-made bytes laid out as RFC 3550 section 5.1 draws them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.rtp.packet import is_rtcp, pack_header, payload_bounds, unpack_header

PLAIN = bytes.fromhex("80 e5 1234 89abcdef 01020304") + b"payload"


def test_header_has_every_field_in_network_order() -> None:
    assert unpack_header(PLAIN) == (0x80, 0x80 | 101, 0x1234, 0x89ABCDEF, 0x01020304)


def test_payload_follows_contributing_sources_and_extension_and_ends_before_padding() -> None:
    packet = bytes.fromhex("b2 00 0001 00000002 00000003") + b"CSR1CSR2" + bytes.fromhex("bede 0002") + b"extnsion" + b"sound" + b"\0\0\3"
    start, end = payload_bounds(packet, packet[0])
    assert packet[start:end] == b"sound"


def test_packet_of_a_header_has_an_empty_payload() -> None:
    assert payload_bounds(PLAIN[:12], PLAIN[0]) == (12, 12)


@pytest.mark.parametrize(
    "packet",
    [
        b"\x40" + PLAIN[1:],  # version 1
        b"\x8f" + PLAIN[1:],  # 15 contributing sources announced
        b"\x90" + PLAIN[1:14],  # extension cut
        b"\x90" + PLAIN[1:12] + b"\xbe\xde\xff\xff",  # extension longer than the packet
        b"\xa0" + PLAIN[1:] + b"\0",  # padding of nothing
        b"\xa0" + PLAIN[1:] + b"\xff",  # padding over the header
    ],
)
def test_malformed_packet_raises_parse_error(packet: bytes) -> None:
    with pytest.raises(ParseError):
        payload_bounds(packet, packet[0])


@given(st.binary(min_size=12, max_size=80))
def test_any_packet_has_its_payload_inside_or_raises_parse_error(data: bytes) -> None:
    try:
        start, end = payload_bounds(data, data[0])
    except ParseError:
        return
    assert 12 <= start <= end <= len(data)


@given(st.integers(0, 127), st.booleans(), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_pack_header_is_parsed_back(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int) -> None:
    packet = pack_header(payload_type, marker, sequence, timestamp, ssrc)
    assert len(packet) == 12
    assert unpack_header(packet) == (0x80, payload_type | marker << 7, sequence, timestamp, ssrc)


def test_pack_header_writes_network_order() -> None:
    assert pack_header(101, True, 0x1234, 0x89ABCDEF, 0x01020304) == PLAIN[:12]


@pytest.mark.parametrize(
    ("second", "expected"), [(200, True), (201, True), (192, True), (223, True), (191, False), (224, False), (0, False)]
)
def test_is_rtcp_rfc5761_4_range(second: int, expected: bool) -> None:
    assert is_rtcp(bytes((0x80, second, 0, 1))) is expected


def test_is_rtcp_too_short_is_false() -> None:
    assert not is_rtcp(b"\x80")
