"""The jitter buffer on simulated networks: a sender's packets with chosen arrivals, a tick every 20 ms, all in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.rtp.jitter import JitterBuffer
from searches import searching

FRAME = 160
SILENT = b"\xff" * FRAME


def sound(index: int) -> bytes:
    """A loud frame that tells which one it is."""
    return b"\x00" + index.to_bytes(4, "big") + b"\x20" * (FRAME - 5)


def index_of(frame: bytes) -> int:
    return int.from_bytes(frame[1:5], "big")


class Network:
    """A sender of 20 ms frames and the ticks of the receiver."""

    def __init__(self, *, first_sequence: int = 1000, first_timestamp: int = 50_000, phase: float = 0.007) -> None:
        self.buffer = JitterBuffer()
        self.first_sequence, self.first_timestamp, self.phase = first_sequence, first_timestamp, phase
        self.packets: list[tuple[float, int, int, bytes]] = []

    def send(self, index: int, arrival: float, payload: bytes | None = None) -> None:
        sequence = (self.first_sequence + index) & 0xFFFF
        timestamp = (self.first_timestamp + index * FRAME) & 0xFFFFFFFF
        self.packets.append((arrival, sequence, timestamp, sound(index) if payload is None else payload))

    def run(self, n_ticks: int, each: Callable[[int], None] = lambda tick: None) -> list[bytes | None]:
        self.packets.sort(key=lambda packet: packet[0])
        played: list[bytes | None] = []
        waiting = iter(self.packets)
        packet = next(waiting, None)
        for tick in range(n_ticks):
            while packet and packet[0] <= tick * 0.02 + self.phase:
                self.buffer.push(packet[1], packet[2], packet[3], packet[0])
                packet = next(waiting, None)
            played.append(self.buffer.pop())
            each(tick)
        return played


def indices(played: list[bytes | None]) -> list[int]:
    return [index_of(frame) for frame in played if frame is not None]


def test_steady_stream_is_played_whole_after_the_start_delay() -> None:
    network = Network()
    for n in range(200):
        network.send(n, n * 0.02)
    played = network.run(210)
    assert played[:2] == [None, sound(0)]
    assert indices(played) == list(range(200))
    assert (network.buffer.lost, network.buffer.late, network.buffer.concealed) == (0, 0, 0)


def test_reordered_and_duplicate_packets_are_played_once_in_order() -> None:
    network = Network()
    for n in range(100):
        network.send(n, n * 0.02 + (0.021 if n % 5 == 2 else 0.0))
        if n % 7 == 0:
            network.send(n, n * 0.02 + 0.001)
    assert indices(network.run(110)) == list(range(100))
    assert network.buffer.duplicate == 15
    assert (network.buffer.lost, network.buffer.late) == (0, 0)


def test_lost_packets_are_gaps_and_time_goes_on() -> None:
    network = Network()
    for n in range(100):
        if n % 10 != 5:
            network.send(n, n * 0.02)
    played = network.run(100)
    for n in range(90):
        assert played[n + 1] == (None if n % 10 == 5 else sound(n))
    assert (network.buffer.lost, network.buffer.concealed) == (10, 10)


def test_long_loss_does_not_lengthen_the_delay() -> None:
    network = Network()
    for n in range(100):
        if not 40 <= n < 46:
            network.send(n, n * 0.02)
    played = network.run(100)
    assert played[98] == sound(97)
    assert network.buffer.lost == 6


def test_packet_after_its_turn_is_late_and_not_played() -> None:
    network = Network()
    for n in range(50):
        network.send(n, n * 0.02 + (0.1 if n == 20 else 0.0))
    assert indices(network.run(55)) == [n for n in range(50) if n != 20]
    assert (network.buffer.late, network.buffer.lost, network.buffer.concealed) == (1, 0, 1)


def test_delay_step_of_the_network_loses_no_sound() -> None:
    """From packet 50 on everything takes 100 ms longer: the buffer waits, and plays all of it."""
    network = Network()
    for n in range(120):
        network.send(n, n * 0.02 + (0.1 if n >= 50 else 0.0))
    assert indices(network.run(140)) == list(range(120))
    assert network.buffer.late == 0


def test_jitter_raises_the_target_and_then_plays_nearly_everything() -> None:
    generator = random.Random(7)
    network = Network()
    for n in range(1500):
        network.send(n, n * 0.02 + generator.uniform(0.0, 0.06))
    played = network.run(1520)
    assert 3 <= network.buffer.target_frames <= 5
    assert len(indices(played)) >= 1490
    assert indices(played) == sorted(indices(played))


def test_target_returns_when_the_network_calms() -> None:
    network = Network()
    network.send(0, 0.0)
    for n in range(1, 3000):
        network.send(n, 2.09 if 100 <= n < 105 else n * 0.02)
    highest = 0

    def watch(_: int) -> None:
        nonlocal highest
        highest = max(highest, network.buffer.target_frames)

    network.run(3010, watch)
    assert highest >= 5
    assert network.buffer.target_frames <= 2


def test_single_overtaken_packet_does_not_lengthen_the_delay_much() -> None:
    network = Network()
    for n in range(300):
        network.send(n, n * 0.02 + (0.15 if n == 100 else 0.0))
    targets: list[int] = []
    network.run(310, lambda _: targets.append(network.buffer.target_frames))
    assert max(targets) <= 3


def test_delay_that_grew_is_taken_back_at_silence() -> None:
    network = Network()
    for n in range(2000):
        network.send(n, max(n * 0.02, 1.3) if 50 <= n < 65 else n * 0.02, SILENT if n % 50 > 25 else None)
    network.run(1900)
    assert network.buffer.depth <= network.buffer.target_frames + 1
    assert network.buffer.dropped > 0
    network.buffer.reset()
    assert network.buffer.depth == 0


@pytest.mark.parametrize("ppm", [-300, 300])
def test_drifting_sender_is_followed_without_growing_or_starving(ppm: int) -> None:
    network = Network()
    n_packets = 15_000  # five minutes: 90 ms of drift
    for n in range(n_packets):
        network.send(n, n * 0.02 * (1 - ppm / 1e6), SILENT if n % 100 > 60 else None)
    depths: list[int] = []
    played = network.run(n_packets - 100, lambda tick: depths.append(network.buffer.depth))
    assert max(depths[100:]) <= 4
    loud = [frame for frame in played if frame is not None and frame != SILENT]
    sent = [n for n in range(n_packets - 110) if n % 100 <= 60]
    assert len(set(sent) - {index_of(frame) for frame in loud}) <= 2
    assert network.buffer.late == 0


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_any_packet_duration_is_cut_and_joined_to_frames(ptime_ms: int) -> None:
    generator = random.Random(ptime_ms)
    stream = generator.randbytes(FRAME * 120)
    size = ptime_ms * 8
    buffer = JitterBuffer()
    packets = [(at * 0.000125 + 0.001, at // size, at, stream[at : at + size]) for at in range(0, len(stream), size)]
    played = b""
    for tick in range(140):
        while packets and packets[0][0] <= tick * 0.02:
            arrival, sequence, timestamp, payload = packets.pop(0)
            buffer.push(sequence & 0xFFFF, timestamp, payload, arrival)
        played += buffer.pop() or b""
    assert played == stream
    assert buffer.lost == 0


def test_half_of_a_frame_lost_is_filled_with_silence() -> None:
    buffer = JitterBuffer(silence=0xD5)
    for n in range(8):
        if n != 3:
            buffer.push(n, n * 80, bytes([n]) * 80, n * 0.01)
    assert [buffer.pop() for _ in range(4)] == [
        bytes([0]) * 80 + bytes([1]) * 80,
        bytes([2]) * 80 + b"\xd5" * 80,
        bytes([4]) * 80 + bytes([5]) * 80,
        bytes([6]) * 80 + bytes([7]) * 80,
    ]


def test_sequence_and_timestamp_roll_over_are_seamless() -> None:
    network = Network(first_sequence=0xFFF0, first_timestamp=0xFFFFFFFF - 20 * FRAME)
    for n in range(100):
        network.send(n, n * 0.02)
    assert indices(network.run(105)) == list(range(100))


@pytest.mark.parametrize(("sequence", "timestamp"), [(30_000, 3_000_000), (1101, 3_000_000), (1101, 10)])
def test_new_timeline_is_followed(sequence: int, timestamp: int) -> None:
    """A sender begins anew, or sets its media clock anew in the middle of its numbers, forwards or back."""
    network = Network()
    for n in range(100):
        network.send(n, n * 0.02)
    for n in range(50):
        network.packets.append((2.0 + n * 0.02, sequence + n, timestamp + n * FRAME, sound(1000 + n)))
    assert indices(network.run(160))[-50:] == list(range(1000, 1050))


def test_pause_of_the_sender_is_not_concealed_and_it_starts_again() -> None:
    network = Network()
    for n in [*range(50), *range(200, 250)]:
        network.packets.append((n * 0.02, 10 + n - (150 if n >= 200 else 0), n * FRAME, sound(n)))
    played = network.run(260)
    assert indices(played) == [*range(50), *range(200, 250)]
    assert (network.buffer.lost, network.buffer.concealed) == (0, 0)


def test_events_between_sound_do_not_count_as_lost() -> None:
    buffer = JitterBuffer()
    buffer.push(1, 0, sound(0), 0.0)
    for sequence in range(2, 12):
        buffer.note_other(sequence)
    buffer.push(12, 11 * FRAME, sound(11), 0.22)
    assert buffer.lost == 0
    buffer.note_other(14)
    assert buffer.lost == 1
    buffer.push(13, 12 * FRAME, sound(12), 0.25)
    assert buffer.lost == 0


def test_single_packet_is_played() -> None:
    network = Network()
    network.send(0, 0.0)
    assert indices(network.run(20)) == [0]


def test_burst_after_an_interruption_keeps_the_newest() -> None:
    network = Network()
    for n in range(300):
        network.send(n, 3.0 if 50 <= n < 150 else n * 0.02)
    played = network.run(310)
    assert indices(played)[-1] == 299
    assert played[160] is not None
    assert index_of(played[160]) >= 150


def test_target_counts_the_frames_of_a_long_packet() -> None:
    buffer = JitterBuffer()
    for n in range(5):
        buffer.push(n, n * 480, bytes(480), n * 0.06)
    buffer.push(6, 6 * 480, bytes(480), 0.36 + 0.03)
    assert buffer.target_frames == 1 + 2 + 2


@searching(50)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 40), st.integers(0, 0xFFFF)),
            st.one_of(st.integers(0, 60).map(lambda n: n * 80), st.integers(0, 0xFFFFFFFF)),
            st.integers(0, 500),
            st.integers(0, 3),
        ),
        max_size=80,
    )
)
def test_any_packets_give_whole_frames_and_bounded_memory(steps: list[tuple[int, int, int, int]]) -> None:
    buffer = JitterBuffer()
    for index, (sequence, timestamp, size, pops) in enumerate(steps):
        buffer.push(sequence, timestamp, bytes(size), index * 0.01)
        assert buffer.depth <= 30
        assert len(buffer._partial) <= 60
        for _ in range(pops):
            frame = buffer.pop()
            assert frame is None or len(frame) == FRAME
    for _ in range(100):
        buffer.pop()
    assert buffer.depth == 0
    assert buffer.pop() is None
