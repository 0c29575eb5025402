"""RTCP against bytes laid out by hand from RFC 3550 section 6, and round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.rtp.rtcp import (
    Goodbye,
    OtherPacket,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_goodbye,
    build_receiver_report,
    build_sender_report,
    build_source_description,
    ntp_time,
    parse_compound,
    round_trip_s,
)

BLOCK = ReportBlock(0x11111111, 64, -2, 0x00012345, 80, 0xB7100500, 0x00054000)
SENDER_REPORT = bytes.fromhex(
    "81c8000c 22222222 b44db705 20000000 00001000 00000005 0000032011111111 40fffffe 00012345 00000050 b7100500 00054000"
)
DESCRIPTION = bytes.fromhex("81ca0003 22222222 0104 61406233 0000")


def test_parse_compound_reads_reports_and_names() -> None:
    report = SenderReport(0x22222222, 0xB44DB70520000000, 0x1000, 5, 800, (BLOCK,))
    assert parse_compound(SENDER_REPORT + DESCRIPTION) == [report, SourceDescription(((0x22222222, "a@b3"),))]
    assert build_sender_report(report, "a@b3") == SENDER_REPORT + DESCRIPTION


def test_parse_compound_honours_report_count_and_profile_extension() -> None:
    """RC says how many blocks there are; what follows them is the profile's (section 6.4.3)."""
    packet = bytes.fromhex("80c90003 22222222 deadbeef deadbeef")
    assert parse_compound(packet) == [ReceiverReport(0x22222222)]


def test_parse_compound_reads_over_other_items_and_types() -> None:
    feedback = bytes.fromhex("81cd0002 22222222 11111111")
    description = bytes.fromhex("82ca0005") + bytes.fromhex("00000001 0202 4142 0101 43 00") + bytes.fromhex("00000002 00000000")
    packets = parse_compound(feedback + description)
    assert packets == [OtherPacket(205, 1, feedback[4:]), SourceDescription(((1, "C"), (2, "")))]


@pytest.mark.parametrize("reason", ["", "bye", "four", "gone away"])
def test_goodbye_is_parsed_back(reason: str) -> None:
    compound = build_receiver_report(ReceiverReport(1, (BLOCK,)), "x") + build_goodbye([1, 2], reason)
    assert parse_compound(compound)[2] == Goodbye((1, 2), reason)


@pytest.mark.parametrize("length", range(9))
def test_source_description_is_whole_words_with_a_null(length: int) -> None:
    """Section 6.5: the list of items is ended by at least one null, and padded to a word."""
    packet = build_source_description(7, "n" * length)
    assert len(packet) % 4 == 0
    assert packet[10 + length] == 0
    assert parse_compound(packet) == [SourceDescription(((7, "n" * length),))]


def test_parse_compound_padding_of_last_packet_is_removed() -> None:
    assert parse_compound(bytes.fromhex("a0c90002 22222222 00000004")) == [ReceiverReport(0x22222222)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SENDER_REPORT[:3],
        SENDER_REPORT[:-4],
        SENDER_REPORT + b"\x81",
        b"\x41" + SENDER_REPORT[1:],  # version 1
        b"\x82" + SENDER_REPORT[1:],  # two blocks announced, one there
        bytes.fromhex("81ca0002 22222222 01ff6162"),  # item longer than the packet
        bytes.fromhex("81ca0001 22222222"),  # chunk without its null
        bytes.fromhex("83cb0001 22222222"),  # three sources announced
        bytes.fromhex("81cb0002 22222222 09616263"),  # reason longer than the packet
        bytes.fromhex("a0c90001 22222222") + DESCRIPTION,  # padding before the last packet
        bytes.fromhex("a0c90001 22222200"),  # padding of nothing
    ],
)
def test_parse_compound_malformed_raises_parse_error(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_compound(data)


@given(st.lists(st.sampled_from([200, 201, 202, 203, 206]), max_size=3), st.binary(max_size=80), st.integers(0, 31))
def test_parse_compound_any_bytes_raise_only_parse_error(types: list[int], body: bytes, count: int) -> None:
    body = body[: len(body) // 4 * 4]
    data = b"".join(bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big") + body for kind in types)
    try:
        assert len(parse_compound(data)) == len(types)
    except ParseError:
        return


def test_round_trip_rfc3550_6_4_1_example() -> None:
    """Figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 0x0005:4000, round trip 0x0006:2000 = 6.125 s."""
    report = ReportBlock(1, 0, 0, 0, 0, 0xB7052000, 0x00054000)
    assert round_trip_s(report, 0xB710_8000 << 16) == 6.125


def test_round_trip_without_sender_report_is_unknown() -> None:
    assert round_trip_s(ReportBlock(1, 0, 0, 0, 0, 0, 0), 1 << 40) is None


def test_ntp_time_of_the_unix_epoch_rfc5905() -> None:
    assert ntp_time(0.5) == 2_208_988_800 << 32 | 1 << 31
