"""Reception statistics against the algorithms of RFC 3550 appendix A, worked by hand."""

from __future__ import annotations

import pytest

from active_call.base.world import SystemRandomness
from active_call.rtp.stream import ReceiveStream, new_send_stream


def feed(stream: ReceiveStream, sequences: list[int], start: float = 100.0) -> None:
    for index, sequence in enumerate(sequences):
        stream.receive(sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, start + index * 0.02)


def test_receive_in_order_over_roll_over_loses_nothing() -> None:
    stream = ReceiveStream(1)
    feed(stream, list(range(0xFFF0, 0x10010)))
    assert (stream.expected, stream.received, stream.lost) == (32, 32, 0)
    assert stream.highest_sequence == 0x1000F


def test_receive_reordered_over_roll_over_counts_one_cycle() -> None:
    stream = ReceiveStream(1)
    feed(stream, [0xFFFE, 0x10000, 0xFFFF, 0x10001])
    assert (stream.highest_sequence, stream.lost) == (0x10001, 0)


def test_take_report_fraction_is_of_the_interval_and_total_is_of_all() -> None:
    stream = ReceiveStream(7)
    feed(stream, [n for n in range(100) if n % 4 != 1])
    first = stream.take_report(200.0)
    feed(stream, list(range(100, 200)), 102.0)
    second = stream.take_report(205.0)
    assert (first.ssrc, first.fraction_lost, first.cumulative_lost) == (7, 64, 25)
    assert (second.fraction_lost, second.cumulative_lost, second.highest_sequence) == (0, 25, 199)


def test_take_report_duplicates_make_loss_negative_and_fraction_zero() -> None:
    stream = ReceiveStream(1)
    feed(stream, [1, 2, 2, 2, 3])
    report = stream.take_report(1.0)
    assert (report.cumulative_lost, report.fraction_lost) == (-2, 0)


def test_receive_jump_is_believed_when_the_next_follows() -> None:
    stream = ReceiveStream(1)
    feed(stream, [1, 2, 3])
    assert not stream.receive(40000, 0, 101.0)
    assert stream.receive(40001, 160, 101.02)
    assert (stream.expected, stream.lost) == (1, 0)


def test_receive_single_stray_is_not_believed() -> None:
    stream = ReceiveStream(1)
    feed(stream, [1, 2])
    assert not stream.receive(40000, 0, 101.0)
    assert stream.receive(3, 480, 101.02)
    assert (stream.highest_sequence, stream.lost) == (3, 0)


def test_jitter_follows_a8() -> None:
    """J += (|D| - J) / 16, here with D = 80 ticks (10 ms) at each packet."""
    stream, expected = ReceiveStream(1), 0.0
    for index in range(50):
        stream.receive(index, index * 160, index * 0.02 + (0.01 if index % 2 else 0.0))
        expected += (80 - expected) / 16 if index else 0
    assert stream.jitter_ms == pytest.approx(expected / 8)
    assert stream.take_report(1.0).jitter == int(expected)


def test_take_report_carries_lsr_and_dlsr() -> None:
    stream = ReceiveStream(1)
    feed(stream, [1])
    assert stream.take_report(1.0).last_sender_report == 0
    stream.note_sender_report(0xB44DB705_20000000, 10.0)
    report = stream.take_report(15.25)
    assert report.last_sender_report == 0xB7052000
    assert report.delay_since_last_sender_report == 0x00054000


def test_new_send_stream_begins_low_and_at_random() -> None:
    streams = [new_send_stream(SystemRandomness()) for _ in range(50)]
    assert all(stream.sequence < 1 << 15 and stream.ssrc for stream in streams)
    assert len({stream.ssrc for stream in streams}) == len({stream.timestamp for stream in streams}) == 50
    assert new_send_stream(SystemRandomness(), 77).ssrc == 77
