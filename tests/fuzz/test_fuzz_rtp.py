"""What reads the media's packets, under hostile bytes: RTP headers, RTCP, telephone events, the jitter buffer, SRTP."""

from __future__ import annotations

import struct

from fuzzing import bounded, mutated
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.rtp.dtmf import EVENTS, DigitReceiver
from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.packet import HEADER_BYTES, is_rtcp, pack_header, payload_bounds
from active_call.rtp.rtcp import (
    ReceiverReport,
    ReportBlock,
    SenderReport,
    build_goodbye,
    build_receiver_report,
    build_sender_report,
    parse_compound,
)
from active_call.rtp.srtp import SrtpSession
from active_call.rtp.stream import ReceiveStream

BLOCK = ReportBlock(0x1234, 64, 7, 70_000, 12, 0xAABBCCDD, 65_536)
COMPOUNDS = [
    build_sender_report(SenderReport(1, 0x1122334455667788, 160, 10, 1600, (BLOCK,)), "peer@example.com"),
    build_receiver_report(ReceiverReport(2, (BLOCK, BLOCK)), "another"),
    build_receiver_report(ReceiverReport(2, ()), "x") + build_goodbye([1, 2, 3], "bye now"),
]
PACKETS = [
    pack_header(0, True, 1, 160, 7) + b"\xff" * 160,
    bytes((0x92, 0x00)) + struct.pack("!HII", 9, 800, 5) + b"\x00" * 8 + b"\xbe\xde\x00\x01abcd" + b"\x55" * 40,
    bytes((0xA0, 101)) + struct.pack("!HII", 9, 800, 5) + b"\x05\x8a\x03\x20" + b"\x00" * 3 + b"\x04",
]
EVENT = st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 0xFFFF), st.integers(0, 12))


@bounded(150)
@given(st.one_of(mutated(PACKETS), st.binary(max_size=64)))
def test_rtp_header_is_refused_or_its_payload_lies_inside_the_packet(data: bytes) -> None:
    is_rtcp(data)
    if len(data) < HEADER_BYTES:
        return
    for packet in (data, memoryview(data)):
        try:
            start, end = payload_bounds(packet, packet[0])
        except ParseError:
            continue
        assert HEADER_BYTES <= start <= end <= len(data)


@bounded(150)
@given(st.one_of(mutated(COMPOUNDS), st.binary(max_size=120)))
def test_rtcp_is_refused_or_read(data: bytes) -> None:
    try:
        packets = parse_compound(data)
    except ParseError:
        return
    assert packets


@given(st.sampled_from(COMPOUNDS))
def test_rtcp_cut_anywhere_is_refused_or_shorter(data: bytes) -> None:
    whole = len(parse_compound(data))
    for size in range(len(data)):
        try:
            assert len(parse_compound(data[:size])) < whole
        except ParseError:
            continue


@bounded()
@given(st.lists(st.one_of(EVENT, st.binary(max_size=6)), max_size=40))
def test_digits_of_any_packets_are_digits_and_never_more_than_events(packets: list[object]) -> None:
    receiver, told, timestamps = DigitReceiver(), [], set()
    for packet in packets:
        if isinstance(packet, bytes):
            payload, timestamp = packet, 0
        else:
            code, is_end, duration, place = packet  # type: ignore[misc]
            payload = bytes((code, 0x8A if is_end else 0x0A)) + duration.to_bytes(2, "big")
            timestamp = place * 1600
        timestamps.add(timestamp)
        try:
            told += [receiver.receive(payload, timestamp)]
        except ParseError:
            assert len(payload) < 4
    told += [receiver.flush(1 << 20) for _ in range(3)]
    digits = [digit for digit in told if digit is not None]
    assert all(digit.digit in EVENTS and digit.duration_ms >= 0 for digit in digits)
    assert receiver.is_idle


@bounded()
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=400)),
            st.tuples(st.integers(0, 40), st.integers(0, 40).map(lambda n: n * 160), st.just(b"\x55" * 160)),
            st.just(None),
        ),
        max_size=80,
    )
)
def test_jitter_buffer_takes_any_packets_and_gives_whole_frames(steps: list[tuple[int, int, bytes] | None]) -> None:
    buffer, stream = JitterBuffer(), ReceiveStream(1)
    for tick, step in enumerate(steps):
        now = tick * 0.02
        if step is None:
            frame = buffer.pop()
            assert frame is None or len(frame) == 160
        else:
            sequence, timestamp, payload = step
            buffer.push(sequence, timestamp, payload, now)
            stream.receive(sequence, timestamp, now)
    assert buffer.depth < 512
    block = stream.take_report(10.0)
    assert 0 <= block.fraction_lost <= 255


@bounded()
@given(st.one_of(mutated(PACKETS), st.binary(max_size=64)), st.one_of(mutated(COMPOUNDS), st.binary(max_size=64)))
def test_srtp_refuses_what_it_did_not_protect(rtp: bytes, rtcp: bytes) -> None:
    session = SrtpSession("AES_CM_128_HMAC_SHA1_80", bytes(30), bytes(range(30)))
    assert session.unprotect(rtp) is None
    assert session.unprotect_rtcp(rtcp) is None
    assert session.n_unauthentic + session.n_replayed == 2
