"""Telephone events against the example and the rules of RFC 4733."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.rtp.dtmf import EVENTS, Digit, DigitPacket, DigitReceiver, DigitSender
from searches import searching


def event(code: int, duration: int, *, end: bool = False) -> bytes:
    return bytes((code, (0x80 if end else 0) | 10)) + duration.to_bytes(2, "big")


def drain(sender: DigitSender, timestamp: int = 1000, ticks: int = 160) -> list[DigitPacket | None]:
    packets = []
    while not sender.is_idle:
        packets.append(sender.next_packet(timestamp & 0xFFFFFFFF))
        timestamp += ticks
    return packets


def test_receive_whole_event_tells_one_digit_at_first_end() -> None:
    receiver = DigitReceiver()
    told = [receiver.receive(event(5, n * 160), 3200) for n in range(1, 5)]
    assert told == [None] * 4
    assert receiver.receive(event(5, 800, end=True), 3200) == Digit("5", 100)
    assert receiver.receive(event(5, 800, end=True), 3200) is None
    assert receiver.receive(event(5, 800, end=True), 3200) is None
    assert receiver.is_idle


def test_receive_same_digit_twice_is_told_twice() -> None:
    receiver = DigitReceiver()
    assert receiver.receive(event(11, 800, end=True), 0) == Digit("#", 100)
    assert receiver.receive(event(11, 800, end=True), 1600) == Digit("#", 100)


def test_receive_only_one_end_packet_of_all_tells_the_digit() -> None:
    assert DigitReceiver().receive(event(10, 1280, end=True), 77) == Digit("*", 160)


def test_receive_update_after_end_is_not_another_digit() -> None:
    receiver = DigitReceiver()
    assert receiver.receive(event(1, 800, end=True), 160) is not None
    assert receiver.receive(event(1, 480), 160) is None
    assert receiver.flush(160 + 100_000) is None


def test_receive_late_packet_of_earlier_event_is_not_another_digit() -> None:
    receiver = DigitReceiver()
    assert receiver.receive(event(1, 800, end=True), 160) is not None
    assert receiver.receive(event(2, 160), 1600) is None
    assert receiver.receive(event(1, 800, end=True), 160) is None
    assert receiver.receive(event(2, 800, end=True), 1600) == Digit("2", 100)


def test_receive_ends_lost_next_event_tells_the_digit() -> None:
    receiver = DigitReceiver()
    receiver.receive(event(1, 480), 0)
    assert receiver.receive(event(2, 160), 2000) == Digit("1", 60)
    assert receiver.receive(event(2, 800, end=True), 2000) == Digit("2", 100)


def test_receive_ends_lost_and_next_event_is_its_end_tells_both() -> None:
    receiver = DigitReceiver()
    receiver.receive(event(1, 480), 0)
    assert receiver.receive(event(2, 800, end=True), 2000) == Digit("1", 60)
    assert receiver.flush(2000) == Digit("2", 100)
    assert receiver.is_idle


def test_flush_three_frames_after_last_update_tells_the_digit_once() -> None:
    receiver = DigitReceiver()
    receiver.receive(event(9, 800), 1600)
    assert receiver.flush(1600 + 800 + 479) is None
    assert receiver.flush(1600 + 800 + 480) == Digit("9", 100)
    assert receiver.receive(event(9, 960, end=True), 1600) is None


def test_receive_timestamp_roll_over_keeps_order() -> None:
    receiver = DigitReceiver()
    assert receiver.receive(event(3, 800, end=True), 0xFFFFFF00) == Digit("3", 100)
    assert receiver.receive(event(4, 800, end=True), 0x00000500) == Digit("4", 100)
    assert receiver.receive(event(3, 800, end=True), 0xFFFFFF00) is None


def test_receive_segments_of_a_long_event_are_one_digit() -> None:
    """RFC 4733 section 2.5.1.3."""
    receiver = DigitReceiver()
    receiver.receive(event(0, 0xFFFF), 1000)
    assert receiver.receive(event(0, 160), 1000 + 0xFFFF) is None
    assert receiver.receive(event(0, 465, end=True), 1000 + 0xFFFF) == Digit("0", 8250)


def test_receive_new_timeline_is_believed() -> None:
    receiver = DigitReceiver()
    assert receiver.receive(event(1, 800, end=True), 900_000) is not None
    assert receiver.receive(event(2, 800, end=True), 160) == Digit("2", 100)


def test_receive_flash_is_no_digit_and_short_payload_is_refused() -> None:
    assert DigitReceiver().receive(event(16, 800, end=True), 0) is None
    with pytest.raises(ParseError):
        DigitReceiver().receive(b"\x01\x80\x03", 0)


def test_send_one_digit_freezes_timestamp_grows_duration_and_ends_three_times() -> None:
    """RFC 4733 sections 2.2.1, 2.5.1."""
    sender = DigitSender()
    sender.queue("5", 100)
    packets = drain(sender)
    assert [p.payload.hex() for p in packets if p] == ["050a00a0", "050a0140", "050a01e0", "050a0280", "058a0320", "058a0320", "058a0320"]
    assert [p.marker for p in packets if p] == [True] + [False] * 6
    assert {p.timestamp for p in packets if p} == {1000}
    assert [p.is_last for p in packets if p] == [False] * 6 + [True]


def test_send_two_digits_leaves_a_pause_of_sound() -> None:
    sender = DigitSender()
    sender.queue("11", 40)
    packets = drain(sender)
    assert [p is None for p in packets] == [False] * 4 + [True, True] + [False] * 4
    assert packets[6] is not None and packets[6].timestamp == 1000 + 6 * 160 and packets[6].marker


@pytest.mark.parametrize("lost", [set(), {0}, {5, 6}, {0, 1, 2}])
def test_send_every_digit_is_received_despite_loss(lost: set[int]) -> None:
    sender, receiver, heard = DigitSender(), DigitReceiver(), ""
    sender.queue(EVENTS.lower(), 100)
    for index, packet in enumerate(drain(sender, 0xFFFFF000)):
        if packet and index % 9 not in lost:
            digit = receiver.receive(packet.payload, packet.timestamp)
            heard += digit.digit if digit else ""
    assert heard == EVENTS


def test_queue_other_characters_raise_value_error() -> None:
    with pytest.raises(ValueError, match="digit"):
        DigitSender().queue("12x")


def test_clear_lets_the_digit_under_way_end() -> None:
    sender = DigitSender()
    sender.queue("12", 40)
    sender.next_packet(0)
    sender.clear()
    assert [p.is_last for p in drain(sender) if p] == [False, False, True]


# -- other clocks, long digits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clock", "timestamps"), [(8000, 8000), (48_000, 48_000), (16_000, 16_000), (8000, 48_000)])
@pytest.mark.parametrize("duration_ms", [40, 100, 1360, 1380, 8180, 8200, 20_000, 60_000])
def test_digits_of_any_length_and_clock_are_received_with_their_length(clock: int, timestamps: int, duration_ms: int) -> None:
    """48 000 Hz need a second segment after 1.365 s already (RFC 4733 section 2.5.1.3)."""
    sender, receiver = DigitSender(clock, timestamps), DigitReceiver(clock, timestamps)
    sender.queue("7#", duration_ms)
    heard = []
    for index, packet in enumerate(drain(sender, 0xFFFFF000, timestamps // 50)):
        now = (0xFFFFF000 + index * timestamps // 50) & 0xFFFFFFFF
        if packet is not None:
            heard.append(receiver.receive(packet.payload, packet.timestamp))
        heard.append(receiver.flush(now))
    assert [digit for digit in heard if digit] == [Digit("7", duration_ms), Digit("#", duration_ms)]


def test_send_long_digit_in_segments_rfc4733_2_5_1_3() -> None:
    sender = DigitSender()
    sender.queue("5", 20_000)
    packets = [packet for packet in drain(sender, 0) if packet]
    starts = sorted({packet.timestamp for packet in packets})
    assert starts == [0, 0xFFFF, 2 * 0xFFFF]
    for start in starts:
        of_segment = [packet for packet in packets if packet.timestamp == start]
        durations = [int.from_bytes(packet.payload[2:], "big") for packet in of_segment]
        assert durations == sorted(durations)
        ends = [packet.payload[1] >= 0x80 for packet in of_segment]
        if start == starts[-1]:
            assert ends == [False] * (len(ends) - 3) + [True] * 3
            assert durations[-1] == 160_000 - 2 * 0xFFFF
        else:
            assert (durations[-1], any(ends)) == (0xFFFF, False)
    assert [packet.marker for packet in packets] == [True] + [False] * (len(packets) - 1)


def test_receive_segments_of_whole_packets_are_one_digit() -> None:
    """A sender that counts whole packets ends a segment at 65 440."""
    receiver = DigitReceiver()
    receiver.receive(event(3, 65_440), 1000)
    assert receiver.receive(event(3, 160), 1000 + 65_440) is None
    assert receiver.receive(event(3, 320, end=True), 1000 + 65_440) == Digit("3", 8220)


def test_receive_same_digit_again_is_no_segment_when_the_first_was_short() -> None:
    receiver = DigitReceiver()
    receiver.receive(event(3, 800), 1000)
    assert receiver.receive(event(3, 160), 1000 + 1600) == Digit("3", 100)


def test_flush_with_timestamps_of_another_clock_waits_for_three_frames() -> None:
    receiver = DigitReceiver(8000, 48_000)
    receiver.receive(event(9, 800), 48_000)  # 100 ms
    assert receiver.flush(48_000 + 4800 + 2879) is None
    assert receiver.flush(48_000 + 4800 + 2880) == Digit("9", 100)


@searching(100)
@given(
    digits=st.text(alphabet=EVENTS, min_size=1, max_size=12),
    clock=st.sampled_from([8000, 16_000, 48_000]),
    duration_ms=st.integers(40, 2500),
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    first=st.integers(0, 0xFFFFFFFF),
)
def test_digits_over_a_bad_network_are_told_once_and_in_order(
    digits: str, clock: int, duration_ms: int, seed: int, loss: float, first: int
) -> None:
    """Packets are lost, doubled and overtaken by up to two others; a digit of which anything arrives is told, and only once."""
    generator = random.Random(seed)
    sender, receiver = DigitSender(clock), DigitReceiver(clock)
    sender.queue(digits, duration_ms)
    packets = drain(sender, first, clock // 50)
    starts = [packet.timestamp for packet in packets if packet and packet.marker]
    sent, number = [], -1
    for index, packet in enumerate(packets):
        if packet is not None:
            number += packet.marker
            sent += [
                (index + generator.random() * 2.5, number, packet)
                for _ in range(1 + (generator.random() < 0.1))
                if generator.random() >= loss
            ]
    told = []
    clock_now = 0.0
    for at, _, packet in sorted(sent, key=lambda item: item[0]):
        while clock_now < at:
            told.append(receiver.flush(first + int(clock_now) * clock // 50 & 0xFFFFFFFF))
            clock_now += 1
        told.append(receiver.receive(packet.payload, packet.timestamp))
    for _ in range(20):
        told.append(receiver.flush(first + int(clock_now) * clock // 50 & 0xFFFFFFFF))
        clock_now += 1
    heard = "".join(digit.digit for digit in told if digit)
    arrived = "".join(digit for index, digit in enumerate(digits) if any(number == index for _, number, _ in sent))
    assert len(starts) == len(digits)
    assert heard == arrived


@searching(150)
@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF)), max_size=60))
def test_any_packets_tell_each_event_at_most_once(steps: list[tuple[bytes, int, int]]) -> None:
    receiver = DigitReceiver()
    n_told = n_events = 0
    for payload, timestamp, now in steps:
        try:
            digit = receiver.receive(payload, timestamp)
        except ParseError:
            assert len(payload) < 4
            continue
        n_events += 1
        flushed = receiver.flush(now)
        n_told += (digit is not None) + (flushed is not None)
        assert n_told <= n_events
        for told in (digit, flushed):
            assert told is None or (told.digit in EVENTS and told.duration_ms >= 0)
