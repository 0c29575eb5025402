"""Many jitter buffers as one table: whatever the network does to each, it plays what a buffer by itself would play.

A buffer by itself is a table of one row; `ScalarJitterBuffer` is written without arrays.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scalar_buffers import ScalarJitterBuffer

from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.jitter_table import FRAME_BYTES, RING, JitterTable
from searches import searching

QUIET = b"\xff\x7f"
COUNTERS = ("received", "lost", "loss_runs", "late", "duplicate", "concealed", "dropped", "stretched", "depth", "target_frames")
TICKS = 250


@dataclass(frozen=True)
class Line:
    """What happens to the packets of one sender on their way."""

    loss: float = 0.0
    jitter_s: float = 0.0
    drift: float = 1.0
    ticks_per_packet: int = FRAME_BYTES
    jumps: float = 0.0
    pauses: float = 0.0
    first_timestamp: int = 1000


Packet = tuple[float, int, int, bytes]


def packets_of(line: Line, chance: random.Random) -> list[Packet]:
    """(arrival, sequence, timestamp, payload), by arrival: reordered as the jitter has it, some twice."""
    packets: list[Packet] = []
    sequence, timestamp, at = chance.randrange(0x10000), line.first_timestamp, chance.random() * 0.1
    while at < TICKS * 0.02:
        if chance.random() < line.jumps:
            sequence, timestamp = chance.randrange(0x10000), chance.randrange(1 << 32)
        if chance.random() < line.pauses:
            at += 0.5
        silent = chance.random() < 0.3
        payload = (b"\xff" if silent else bytes([chance.randrange(0x70)])) * line.ticks_per_packet
        packet = (at + chance.random() * line.jitter_s, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, payload)
        if chance.random() >= line.loss:
            packets += [packet] * (2 if chance.random() < 0.02 else 1)
        sequence += 1
        timestamp += line.ticks_per_packet
        at += line.ticks_per_packet / 8000 * line.drift
    return sorted(packets, key=lambda packet: packet[0])


class Side:
    """The same packets for a table with its buffers, for buffers by themselves, and for buffers that are written without arrays."""

    def __init__(self, n_lines: int) -> None:
        self.table = JitterTable(n_lines + 2)
        self.rows = np.arange(n_lines, dtype=np.intp)[::-1] + 1
        self.together = [JitterBuffer(self.table, int(row), quiet=QUIET) for row in self.rows]
        self.alone = [JitterBuffer(quiet=QUIET) for _ in self.rows]
        self.plain = [ScalarJitterBuffer(quiet=QUIET) for _ in self.rows]
        self.n_simple = 0

    def push(self, packets: dict[int, Packet]) -> None:
        """One packet for some lines, by line."""
        for line, (arrival, sequence, timestamp, payload) in packets.items():
            self.alone[line].push(sequence, timestamp, payload, arrival)
            self.plain[line].push(sequence, timestamp, payload, arrival)
        lines = list(packets)
        rows = self.rows[lines]
        arrivals, sequences, timestamps, payloads = zip(*packets.values(), strict=True)
        at, sequence, timestamp = np.array(arrivals), np.array(sequences), np.array(timestamps)
        ahead = self.table.ahead(rows, sequence, timestamp)
        simple = ahead >= 0
        self.table.push(rows[simple], sequence[simple], timestamp[simple], at[simple])
        whole = simple & (ahead % FRAME_BYTES == 0) & np.array([len(payload) == FRAME_BYTES for payload in payloads])
        frames = b"".join([payload for payload, is_whole in zip(payloads, whole, strict=True) if is_whole])
        self.table.keep(rows[whole], ahead[whole], np.frombuffer(frames, np.uint8).reshape(-1, FRAME_BYTES))
        for line in np.array(lines)[simple & ~whole].tolist():
            self.together[line].store(packets[line][2], packets[line][3])
        for line in np.array(lines)[~simple].tolist():
            arrival, number, stamp, payload = packets[line]
            self.together[line].push(number, stamp, payload, arrival)
        self.n_simple += int(simple.sum())

    def pop(self) -> tuple[list[bytes | None], list[bytes | None], list[bytes | None]]:
        frames, is_there = self.table.pop(self.rows)
        found = [frame.tobytes() if is_one else None for frame, is_one in zip(frames, is_there, strict=True)]
        return found, [buffer.pop() for buffer in self.alone], [buffer.pop() for buffer in self.plain]


def play(lines: list[Line], seed: int) -> Side:
    """Run all lines through both; whatever differs fails."""
    chance, side = random.Random(seed), Side(len(lines))
    waiting = [packets_of(line, chance) for line in lines]
    for tick in range(TICKS + 20):
        while due := {line: queue.pop(0) for line, queue in enumerate(waiting) if queue and queue[0][0] <= tick * 0.02}:
            side.push(due)
        together, alone, plain = side.pop()
        assert together == alone
        assert together == plain
        for one, other, third in zip(side.together, side.alone, side.plain, strict=True):
            assert [getattr(one, name) for name in COUNTERS] == [getattr(other, name) for name in COUNTERS]
            assert [getattr(one, name) for name in COUNTERS] == [getattr(third, name) for name in COUNTERS]
    return side


LINES = st.builds(
    Line,
    loss=st.sampled_from((0.0, 0.0, 0.02, 0.2)),
    jitter_s=st.sampled_from((0.0, 0.005, 0.04, 0.1)),
    drift=st.sampled_from((1.0, 1.001, 0.999, 1.02)),
    ticks_per_packet=st.sampled_from((160, 160, 160, 80, 240, 480)),
    jumps=st.sampled_from((0.0, 0.0, 0.01)),
    pauses=st.sampled_from((0.0, 0.01)),
    first_timestamp=st.sampled_from((0, 12_345, (1 << 32) - 5000)),
)


@searching(10)
@given(st.lists(LINES, min_size=1, max_size=6), st.integers(0, 1 << 32))
def test_table_on_any_lines_plays_and_counts_what_each_buffer_would(lines: list[Line], seed: int) -> None:
    play(lines, seed)


def test_table_on_steady_lines_does_nearly_all_of_it_itself() -> None:
    side = play([Line()] * 5, 1)
    assert side.n_simple >= 5 * (TICKS - 15)  # the rest: the first packets of each, and those that came twice


def test_row_that_is_idle_plays_nothing_and_stays_as_it_is() -> None:
    table = JitterTable(3)
    buffers = [JitterBuffer(table, row) for row in range(2)]  # nobody has the third row
    for _ in range(30):
        frames, is_there = table.pop(np.array([0, 1, 2]))
        assert frames.shape == (3, FRAME_BYTES)
        assert not is_there.any()
    assert [buffer.concealed for buffer in buffers] == [0, 0]


def test_buffer_that_leaves_its_table_plays_what_waited_and_the_next_one_begins_empty() -> None:
    table = JitterTable(2)
    before = JitterBuffer(table, 1)
    for number in range(5):
        before.push(number, number * 160, bytes([number]) * 160, number * 0.02)
    before.leave_table()
    after = JitterBuffer(table, 1)
    assert (before.depth, after.depth) == (5, 0)
    frames = [frame for frame in (before.pop() for _ in range(12)) if frame is not None]
    assert [frame[0] for frame in frames] == [0, 1, 2, 3, 4]
    assert not table.pop(np.array([1]))[1].any()


def test_payload_beyond_the_ring_is_cut_and_memory_stays_bounded() -> None:
    buffer = JitterBuffer()
    for number in range(18):
        buffer.push(number, number * 160, bytes(160), number * 0.001)
    buffer.push(18, 18 * 160, bytes(160 * 60), 0.02)
    assert buffer.depth <= RING
    frames = [frame for frame in (buffer.pop() for _ in range(60)) if frame is not None]
    assert {len(frame) for frame in frames} == {160}
    assert 15 <= len(frames) <= RING  # too much of it is given up
