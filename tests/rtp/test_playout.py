"""Packets of any duration on simulated networks: a sender, chosen arrivals, a tick every 20 ms, all in virtual time.

The decoder here writes the number of its packet into every sample, so that what was played can be told from the sound.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.codec.stream import new_decoder, new_encoder
from active_call.codec.table import CODECS
from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.packet_jitter import Gap, Packet, PacketJitterBuffer
from active_call.rtp.playout import Playout
from searches import searching

CLOCK, RATE, FRAME = 48_000, 16_000, 320
LOUD = 1000
CONCEALED, REPAIRED, QUIET = -1000, -2000, 1


class Counting:
    """`Decoder` for payloads of four bytes: number of the packet and duration in ms; odd-sized ones are malformed."""

    sample_rate_hz = RATE

    def __init__(self) -> None:
        self.n_resets = 0

    def duration_s(self, payload: bytes) -> float:
        if len(payload) != 4 or not payload[3]:
            raise ParseError("payload", expected="4 bytes")
        return payload[3] / 1000

    def decode(self, payload: bytes) -> np.ndarray:
        n_samples = round(self.duration_s(payload) * RATE)
        if payload[2]:
            return np.full(n_samples, QUIET, np.int16)
        return np.full(n_samples, LOUD + int.from_bytes(payload[:2], "big") % 30_000, np.int16)

    def conceal(self, n_samples: int) -> np.ndarray:
        assert n_samples % (RATE // 400) == 0
        return np.full(n_samples, CONCEALED, np.int16)

    def decode_fec(self, next_payload: bytes, n_samples: int) -> np.ndarray:
        assert n_samples % (RATE // 400) == 0
        self.duration_s(next_payload)
        return np.full(n_samples, REPAIRED, np.int16)

    def reset(self) -> None:
        self.n_resets += 1


def numbered(index: int, ms: int = 20, *, quiet: bool = False) -> bytes:
    return (index & 0xFFFF).to_bytes(2, "big") + bytes((quiet, ms))


class Network:
    """A sender of packets and the ticks of the receiver."""

    def __init__(self, *, first_sequence: int = 1000, first_timestamp: int = 50_000, phase: float = 0.007) -> None:
        self.playout = Playout(Counting(), CLOCK)
        self.first_sequence, self.first_timestamp, self.phase = first_sequence, first_timestamp, phase
        self.packets: list[tuple[float, int, int, bytes]] = []

    def send(self, index: int, arrival: float, ms: int = 20, *, quiet: bool = False) -> None:
        sequence = (self.first_sequence + index) & 0xFFFF
        timestamp = (self.first_timestamp + index * ms * 48) & 0xFFFFFFFF
        self.packets.append((arrival, sequence, timestamp, numbered(index, ms, quiet=quiet)))

    def run(self, n_ticks: int, each: Callable[[int], None] = lambda tick: None) -> list[np.ndarray | None]:
        self.packets.sort(key=lambda packet: packet[0])
        played: list[np.ndarray | None] = []
        waiting = iter(self.packets)
        packet = next(waiting, None)
        for tick in range(n_ticks):
            while packet and packet[0] <= tick * 0.02 + self.phase:
                self.playout.push(packet[1], packet[2], packet[3], packet[0])
                packet = next(waiting, None)
            frame = self.playout.pop()
            assert frame is None or len(frame) == FRAME
            played.append(frame)
            each(tick)
        return played


def sound_of(played: Iterable[np.ndarray | None]) -> np.ndarray:
    return np.concatenate([frame for frame in played if frame is not None])


def numbers(played: Iterable[np.ndarray | None]) -> list[int]:
    """The packets that were heard, each once for every run of it; -1 for concealed, -2 for repaired sound."""
    sound = sound_of(played)
    starts = np.flatnonzero(np.diff(sound.astype(int), prepend=-32768))
    return [int(value) - LOUD if value >= LOUD else int(value) // 1000 for value in sound[starts]]


def made_up(played: Iterable[np.ndarray | None]) -> int:
    """Samples that no packet brought."""
    return int((sound_of(played) < 0).sum())


@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60, 5])
def test_steady_stream_is_played_whole_in_any_packet_duration(ms: int) -> None:
    network = Network()
    n_packets = 4000 // ms
    for n in range(n_packets):
        network.send(n, (n + 1) * ms / 1000, ms)
    played = network.run(220)
    heard = numbers(played)
    assert heard[:n_packets] == list(range(n_packets))
    assert all(number == -1 for number in heard[n_packets:])
    assert int((sound_of(played) > 0).sum()) == n_packets * ms * RATE // 1000
    assert (network.playout.buffer.lost, network.playout.buffer.late) == (0, 0)


def test_duration_may_change_from_packet_to_packet() -> None:
    network = Network()
    timestamp, total = 0, 0.0
    durations = [20, 60, 10, 10, 40, 20, 5, 5, 60, 60, 20] * 8
    for n, ms in enumerate(durations):
        total += ms / 1000
        network.packets.append((total, n, timestamp, numbered(n, ms)))
        timestamp += ms * 48
    played = network.run(int(total / 0.02) + 8)
    heard = [number for number in numbers(played) if number >= 0]
    assert list(dict.fromkeys(heard)) == list(range(len(durations)))
    assert network.playout.buffer.concealed <= 4  # the first long packets are waited for


def test_reordered_and_duplicate_packets_are_played_once_in_order() -> None:
    network = Network()
    for n in range(100):
        network.send(n, n * 0.02 + (0.021 if n % 5 == 2 else 0.0))
        if n % 7 == 0:
            network.send(n, n * 0.02 + 0.001)
    assert numbers(network.run(101)) == list(range(100))
    assert network.playout.buffer.duplicate == 15
    assert (network.playout.buffer.lost, network.playout.buffer.late) == (0, 0)


def test_lost_packets_are_repaired_from_the_next_one_and_time_goes_on() -> None:
    network = Network()
    for n in range(100):
        if n % 10 != 5:
            network.send(n, n * 0.02)
    played = network.run(95)
    assert numbers(played) == [-2 if n % 10 == 5 else n for n in range(94)]
    assert (network.playout.buffer.lost, network.playout.buffer.concealed) == (9, 9)


def test_gap_of_several_packets_is_concealed_up_to_the_last_one_which_is_repaired() -> None:
    buffer = PacketJitterBuffer(CLOCK)
    for n in (0, 1, 5, 6):
        buffer.push(n, n * 960, numbered(n), 960, n * 0.02)
    for _ in range(3):
        buffer.start_tick()
    taken = [buffer.take(960) for _ in range(7)]
    packet = [Packet(numbered(n), 960) for n in range(7)]
    assert taken == [packet[0], packet[1], Gap(960), Gap(960), Gap(960, packet[5].payload), packet[5], packet[6]]
    assert buffer.take(960) is None
    assert (buffer.lost, buffer.concealed) == (3, 3)


def test_gap_before_a_long_packet_is_repaired_in_one_piece() -> None:
    buffer = PacketJitterBuffer(CLOCK)
    buffer.push(0, 0, numbered(0, 60), 2880, 0.0)
    buffer.push(2, 5760, numbered(2, 60), 2880, 0.0)
    assert [buffer.take(960) for _ in range(3)] == [
        Packet(numbered(0, 60), 2880),
        Gap(2880, numbered(2, 60)),
        Packet(numbered(2, 60), 2880),
    ]


def test_packet_that_another_one_reaches_over_is_late() -> None:
    buffer = PacketJitterBuffer(CLOCK)
    buffer.push(0, 0, numbered(0, 60), 2880, 0.0)
    buffer.push(1, 960, numbered(1), 960, 0.0)
    assert buffer.take(960) == Packet(numbered(0, 60), 2880)
    assert buffer.take(960) is None
    assert (buffer.late, buffer.waiting_ticks) == (1, 0)


def test_lost_packets_of_60_ms_are_made_up_by_as_much() -> None:
    network = Network()
    for n in range(40):
        if n % 10 != 5:
            network.send(n, (n + 1) * 0.06, 60)
    played = network.run(125)
    assert 4 * 960 - FRAME <= made_up(played[:118]) <= 4 * 960
    assert [number for number in numbers(played) if number >= 0][:36] == [n for n in range(40) if n % 10 != 5][:36]


def test_long_loss_does_not_lengthen_the_delay() -> None:
    network = Network()
    for n in range(100):
        if not 40 <= n < 46:
            network.send(n, n * 0.02)
    played = network.run(100)
    assert numbers(played[98:99]) == [97]
    assert network.playout.buffer.lost == 6


def test_packet_after_its_turn_is_late_and_not_played() -> None:
    network = Network()
    for n in range(50):
        network.send(n, n * 0.02 + (0.1 if n == 20 else 0.0))
    heard = numbers(network.run(50))
    assert [number for number in heard if number >= 0] == [n for n in range(49) if n != 20]
    assert (network.playout.buffer.late, network.playout.buffer.lost) == (1, 0)


def test_delay_step_of_the_network_loses_no_sound() -> None:
    """From packet 50 on everything takes 100 ms longer: the buffer waits, and plays all of it."""
    network = Network()
    for n in range(120):
        network.send(n, n * 0.02 + (0.1 if n >= 50 else 0.0))
    assert [number for number in numbers(network.run(135)) if number >= 0] == list(range(120))
    assert network.playout.buffer.late == 0


def test_pause_of_the_sender_is_not_made_up_for_long_and_it_starts_again() -> None:
    """DTX: nothing is sent for three seconds, then the numbers go on and the timestamp has jumped (RFC 7587 section 3.1.3)."""
    network = Network()
    for n in [*range(50), *range(200, 250)]:
        network.packets.append((n * 0.02, 10 + n - (150 if n >= 200 else 0), n * 960, numbered(n)))
    played = network.run(260)
    assert [number for number in numbers(played) if number >= 0] == [*range(50), *range(200, 250)]
    assert network.playout.buffer.lost == 0
    assert played[100] is None
    assert made_up(played) <= 2 * 10 * FRAME


@pytest.mark.parametrize("pause_ms", [40, 100, 180, 400])
def test_short_pauses_of_the_sender_keep_everything_that_was_sent(pause_ms: int) -> None:
    network = Network()
    at, index = 0.0, 0
    while index < 300:
        for _ in range(30):
            network.packets.append((at, index, round(at * 48_000), numbered(index)))
            at, index = at + 0.02, index + 1
        at += pause_ms / 1000
    heard = [number for number in numbers(network.run(int(at / 0.02) + 10)) if number >= 0]
    assert heard == list(range(300))


@pytest.mark.parametrize(("sequence", "timestamp"), [(30_000, 3_000_000), (1101, 3_000_000), (1101, 10)])
def test_new_timeline_is_followed(sequence: int, timestamp: int) -> None:
    """A sender begins anew, or sets its media clock anew in the middle of its numbers, forwards or back."""
    network = Network()
    for n in range(100):
        network.send(n, n * 0.02)
    for n in range(50):
        network.packets.append((2.0 + n * 0.02, sequence + n, timestamp + n * 960, numbered(1000 + n)))
    assert [number for number in numbers(network.run(152)) if number >= 0][-50:] == list(range(1000, 1050))


def test_reset_for_another_source_resets_the_decoder_and_plays_what_comes() -> None:
    decoder = Counting()
    playout = Playout(decoder, CLOCK)
    for n in range(10):
        playout.push(n, n * 960, numbered(n), n * 0.02)
        playout.pop()
    playout.reset()
    assert decoder.n_resets == 1
    assert playout.pop() is None
    played = []
    for n in range(10):
        playout.push(500 + n, 7_000_000 + n * 960, numbered(100 + n), 1 + n * 0.02)
        played.append(playout.pop())
    assert numbers(played) == list(range(100, 109))


def test_sequence_and_timestamp_roll_over_are_seamless() -> None:
    network = Network(first_sequence=0xFFF0, first_timestamp=0xFFFFFFFF - 20 * 960)
    for n in range(100):
        network.send(n, n * 0.02)
    assert numbers(network.run(101)) == list(range(100))


def test_malformed_payloads_are_counted_and_made_up() -> None:
    network = Network()
    for n in range(50):
        network.send(n, n * 0.02)
    network.packets[20] = (*network.packets[20][:3], b"x")
    heard = numbers(network.run(51))
    assert heard == [-2 if n == 20 else n for n in range(50)]
    assert (network.playout.malformed, network.playout.buffer.lost) == (1, 0)


def test_events_between_sound_do_not_count_as_lost() -> None:
    playout = Playout(Counting(), CLOCK)
    playout.push(1, 0, numbered(0), 0.0)
    for sequence in range(2, 12):
        playout.note_other(sequence)
    playout.push(12, 11 * 960, numbered(11), 0.22)
    assert playout.buffer.lost == 0


def test_burst_after_an_interruption_keeps_the_newest() -> None:
    network = Network()
    for n in range(300):
        network.send(n, 3.0 if 50 <= n < 150 else n * 0.02)
    heard = numbers(network.run(301))
    assert heard[-1] >= 295
    assert network.playout.buffer.dropped > 50


def test_delay_that_grew_is_taken_back_at_silence_without_leaving_out_sound() -> None:
    network = Network()
    for n in range(2000):
        network.send(n, max(n * 0.02, 1.3) if 50 <= n < 65 else n * 0.02, quiet=n % 50 > 25)
    played = network.run(1990)
    assert network.playout.depth <= network.playout.buffer.target_frames + 1
    loud = {number for number in numbers(played) if number >= 0}
    assert loud >= {n for n in range(70, 1980) if n % 50 <= 25}


def test_delay_that_must_be_taken_back_in_sound_is_faded() -> None:
    network = Network()
    for n in range(1000):
        network.send(n, max(n * 0.02, 1.2) if 50 <= n < 60 else n * 0.02)
    sound = sound_of(network.run(1000)).astype(int)
    assert network.playout.buffer.dropped > 0
    fades = [step for step in np.diff(sound)[np.flatnonzero(np.diff(sound))] if abs(step) < 2]
    assert fades


@pytest.mark.parametrize("ppm", [-600, 600])
def test_drifting_sender_is_followed_for_ten_minutes(ppm: int) -> None:
    """The clocks part by a third of a second, as clocks that are 100 ppm apart do in an hour."""
    network = Network()
    n_packets = 30_000
    for n in range(n_packets):
        network.send(n, n * 0.02 * (1 - ppm / 1e6), quiet=n % 100 > 60)
    depths: list[int] = []
    n_ticks = int(n_packets * (1 - max(ppm, 0) / 1e6)) - 100
    network.run(n_ticks, lambda tick: depths.append(network.playout.depth))
    buffer = network.playout.buffer
    assert max(depths[100:]) <= 4
    assert buffer.late == 0
    frames_of_drift = n_packets * abs(ppm) / 1e6
    lengthened = network.playout.stretched + buffer.concealed
    assert buffer.dropped - lengthened == pytest.approx(frames_of_drift if ppm > 0 else -frames_of_drift, abs=4)
    assert buffer.dropped + lengthened <= frames_of_drift * 1.3 + 10


# -- both buffers on bad networks --------------------------------------------------------------------------------------------------------


def arrivals(seed: int, loss: float, jitter: str, n_packets: int = 3000, ms: int = 20) -> tuple[list[tuple[float, int]], int]:
    """When which packet arrives, and how many are lost. Means of 20, spreads of 40 ms."""
    generator = random.Random(seed)
    delays = {
        "uniform": lambda: generator.uniform(0.0, 0.04),
        "normal": lambda: min(abs(generator.gauss(0.0, 0.02)), 0.08),
        "skewed": lambda: generator.expovariate(1 / 0.0133),
    }
    came = [(n * ms / 1000 + delays[jitter](), n) for n in range(n_packets) if generator.random() >= loss]
    return sorted(came), n_packets - len(came)


@pytest.mark.parametrize("jitter", ["uniform", "normal", "skewed"])
@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(2))
def test_loss_and_40_ms_of_jitter_cost_less_than_one_percent_more_in_packets(seed: int, loss: float, jitter: str) -> None:
    came, n_lost = arrivals(seed, loss, jitter)
    network = Network()
    for arrival, n in came:
        network.send(n, arrival)
    played = network.run(3010)
    heard = {number for number in numbers(played) if number >= 0}
    assert 3000 - len(heard) - n_lost <= 30
    assert network.playout.buffer.concealed - n_lost <= 30


@pytest.mark.parametrize("jitter", ["uniform", "normal", "skewed"])
@pytest.mark.parametrize("loss", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(2))
def test_loss_and_40_ms_of_jitter_cost_less_than_one_percent_more_in_bytes(seed: int, loss: float, jitter: str) -> None:
    came, n_lost = arrivals(seed, loss, jitter)
    buffer = JitterBuffer()
    heard: set[int] = set()
    position = 0
    for tick in range(3010):
        while position < len(came) and came[position][0] <= tick * 0.02 + 0.007:
            arrival, n = came[position]
            buffer.push(n, n * 160, b"\x00" + n.to_bytes(4, "big") + b"\x20" * 155, arrival)
            position += 1
        frame = buffer.pop()
        if frame is not None:
            heard.add(int.from_bytes(frame[1:5], "big"))
    assert 3000 - len(heard) - n_lost <= 30
    assert buffer.concealed - n_lost <= 30


# -- with real codecs --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["opus", "g722", "l16_8000", "l16_16000"])
@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_real_codecs_are_played_through_a_bad_network(name: str, ms: int) -> None:
    codec, encoder = CODECS[name], new_encoder(name)
    n = codec.sample_rate_hz * ms // 1000
    time = np.arange(codec.sample_rate_hz * 6) / codec.sample_rate_hz
    sound = (6000 * np.sin(2 * np.pi * 150 * time) + 2000 * np.sin(2 * np.pi * 1050 * time)).astype(np.int16)
    payloads = [encoder.encode(sound[at : at + n]) for at in range(0, len(sound), n)]
    came, n_lost = arrivals(ms, 0.05, "uniform", len(payloads), ms)
    playout = Playout(new_decoder(name), codec.rtp_clock_hz)
    ticks_per_packet = codec.rtp_clock_hz * ms // 1000
    played: list[np.ndarray] = []
    position = 0
    for tick in range(310):
        while position < len(came) and came[position][0] + ms / 1000 <= tick * 0.02:
            arrival, index = came[position]
            playout.push(index, index * ticks_per_packet, payloads[index], arrival + ms / 1000)
            position += 1
        frame = playout.pop()
        if frame is not None:
            assert len(frame) == codec.sample_rate_hz // 50
            played.append(frame)
    assert playout.malformed == 0
    assert playout.buffer.concealed * 20 <= (n_lost + 3) * ms + 60
    whole = np.concatenate(played[5:-8]).astype(float)
    assert 10 * np.log10((whole**2).mean() / (sound.astype(float) ** 2).mean()) > -1.5
    if name != "opus":  # which has steps of its own after a loss, on tones more than on speech
        assert np.abs(np.diff(whole)).max() < 2 * np.abs(np.diff(sound.astype(int))).max()


@searching(70)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 40), st.integers(0, 0xFFFF)),
            st.one_of(st.integers(0, 120).map(lambda n: n * 240), st.integers(0, 0xFFFFFFFF)),
            st.one_of(st.sampled_from([5, 10, 20, 40, 60, 120]), st.integers(0, 255)),
            st.integers(0, 3),
        ),
        max_size=80,
    )
)
def test_any_packets_give_whole_frames_and_bounded_memory(steps: list[tuple[int, int, int, int]]) -> None:
    playout = Playout(Counting(), CLOCK)
    for index, (sequence, timestamp, ms, pops) in enumerate(steps):
        playout.push(sequence, timestamp, numbered(index, ms), index * 0.01)
        assert playout.buffer.waiting_ticks == sum(packet.ticks for packet in playout.buffer._packets.values())
        assert len(playout.buffer._packets) <= 90
        for _ in range(pops):
            frame = playout.pop()
            assert frame is None or len(frame) == FRAME
    for _ in range(200):
        playout.pop()
    assert playout.depth == 0
    assert playout.pop() is None
