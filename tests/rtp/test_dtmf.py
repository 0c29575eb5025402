"""Telephone events against the example and the rules of RFC 4733."""

from __future__ import annotations

import pytest

from active_call.base.errors import ParseError
from active_call.rtp.dtmf import EVENTS, Digit, DigitPacket, DigitReceiver, DigitSender


def event(code: int, duration: int, *, end: bool = False) -> bytes:
    return bytes((code, (0x80 if end else 0) | 10)) + duration.to_bytes(2, "big")


def drain(sender: DigitSender, timestamp: int = 1000) -> list[DigitPacket | None]:
    packets = []
    while not sender.is_idle:
        packets.append(sender.next_packet(timestamp & 0xFFFFFFFF))
        timestamp += 160
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
