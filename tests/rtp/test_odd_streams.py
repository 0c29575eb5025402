"""Streams of odd senders and networks: what is heard, what is counted, and that nothing is kept for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.packet_jitter import PacketJitterBuffer

FRAME = 160
CLOCK = 8000


class Bytes:
    """A `JitterBuffer` and its tick."""

    def __init__(self) -> None:
        self.buffer = JitterBuffer()
        self.n_played = 0

    def push(self, sequence: int, timestamp: int, arrival: float) -> None:
        self.buffer.push(sequence & 0xFFFF, timestamp, b"\x11" * FRAME, arrival)

    def tick(self) -> None:
        self.n_played += self.buffer.pop() is not None


class Packets:
    """A `PacketJitterBuffer` and its tick."""

    def __init__(self) -> None:
        self.buffer = PacketJitterBuffer(CLOCK)
        self.n_played = 0

    def push(self, sequence: int, timestamp: int, arrival: float) -> None:
        self.buffer.push(sequence & 0xFFFF, timestamp, b"\x11", FRAME, arrival)

    def tick(self) -> None:
        if not self.buffer.start_tick():
            return
        taken = self.buffer.take(FRAME)
        if taken is None:
            self.buffer.stall(FRAME)
        self.n_played += hasattr(taken, "payload")


BOTH = pytest.mark.parametrize("kind", [Bytes, Packets])


@BOTH
@pytest.mark.parametrize("delay_frames", [1, 5, 20])
def test_late_duplicates_are_neither_late_packets_nor_a_reason_for_delay(kind: Callable[[], Bytes | Packets], delay_frames: int) -> None:
    line = kind()
    lost = range(10, 400, 10)
    for n in range(400):
        for index in (n, n - delay_frames):
            if index >= 0 and index not in lost:
                line.push(65_400 + index, index * FRAME, n * 0.02)
        line.tick()
    buffer = line.buffer
    assert (buffer.lost, buffer.late) == (len(lost), 0)
    assert buffer.duplicate >= 400 - delay_frames - len(lost)
    assert line.n_played >= 400 - len(lost) - 5
    assert buffer.target_frames <= 3


@BOTH
def test_reordering_by_fifty_packets_is_late_and_not_lost(kind: Callable[[], Bytes | Packets]) -> None:
    line = kind()
    late = range(20, 300, 20)
    for n in range(400):
        for index in (n, n - 50):
            if index >= 0 and (index in late) == (index != n):
                line.push(index, index * FRAME, n * 0.02)
        line.tick()
    assert (line.buffer.lost, line.buffer.late, line.buffer.duplicate) == (0, len(late), 0)


@BOTH
def test_packet_that_is_no_sound_and_was_overtaken_is_not_lost(kind: Callable[[], Bytes | Packets]) -> None:
    line = kind()
    line.push(1, 0, 0.0)
    line.push(3, 2 * FRAME, 0.04)
    assert line.buffer.lost == 1
    line.buffer.note_other(2)
    line.buffer.note_other(2)
    assert line.buffer.lost == 0


def test_sound_that_overlaps_leaves_no_pieces_and_the_pause_after_it_is_a_pause() -> None:
    buffer = JitterBuffer()
    timestamp = 0
    for n in range(50):
        buffer.push(n, timestamp, b"\x11" * FRAME, n * 0.02)
        timestamp += 80 if n == 20 else FRAME
        buffer.pop()
    for _ in range(500):
        buffer.pop()
    assert buffer.concealed <= 1
    buffer.push(50, timestamp + 500 * FRAME, b"\x11" * FRAME, 11.0)
    assert buffer.lost == 0


def test_pieces_of_frames_that_came_whole_are_not_kept() -> None:
    buffer = JitterBuffer()
    for n in range(500):
        buffer.push(2 * n, n * FRAME, b"\x11" * FRAME, n * 0.02)
        buffer.push(2 * n + 1, n * FRAME + 40, b"\x22" * 40, n * 0.02)
        buffer.pop()
    assert len(buffer._partial) < 30


def test_packets_that_overlap_are_not_kept_and_do_not_count_as_sound_that_waits() -> None:
    line = Packets()
    for n in range(500):
        line.push(2 * n, n * FRAME, n * 0.02)
        line.push(2 * n + 1, n * FRAME + 40, n * 0.02)
        line.tick()
        assert line.buffer.waiting_ticks <= 6 * FRAME
    assert line.n_played >= 495
    assert line.buffer.late >= 490
