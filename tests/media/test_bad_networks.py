"""Calls over networks that lose, delay, double and overtake packets, in virtual time: what the engine hears and what it counts.

Loss of the network cannot be undone; what is judged is how much more is not heard, and whether time stays in order.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from engine_box import PAUSE_FRAMES, REPEATED, TALK_FRAMES, TICK_S, Box, FarEnd, Heard, box, is_spoken, spoken_frame

from active_call.codec.stream import new_encoder
from active_call.media.link.messages import StreamClosed, StreamDead
from active_call.testing.fakes.net import Conditions
from active_call.testing.sound import audio

SEEDS = range(4)
MINUTE = 3000
"""Ticks."""
CALL = 750
"""Ticks of most calls: 15 s, six talkspurts. Four seeds make 24 of them."""
LEARNT_FRAMES = 150
TAIL = 15
"""Frames at the end that may still be under way."""


def spoken(far_end: FarEnd) -> list[int]:
    """The frames of talk whose turn has come, whether or not they passed the network."""
    return [number for number in range(far_end.n_frames - TAIL) if is_spoken(number)]


def unheard(far_end: FarEnd, heard: Heard) -> list[int]:
    """Those that passed the network and were not heard."""
    numbers = set(heard.numbers)
    return [number for number in spoken(far_end) if number not in far_end.network.lost and number not in numbers]


def assert_in_order(far_end: FarEnd, heard: Heard) -> None:
    """Time goes one way, and nothing is heard that did not arrive."""
    assert all(later > earlier for earlier, later in pairwise(heard.numbers))
    assert not far_end.network.lost & set(heard.numbers)


def assert_counted(far_end: FarEnd, closed: StreamClosed) -> None:
    """The statistics say what the network, which doubled nothing, did; what is still under way at the end is neither here nor there."""
    network = far_end.network
    assert network.n_doubled == closed.packets_dropped == 0
    passed = network.n_sent - len(network.lost)
    assert passed - TAIL <= closed.packets_received <= passed
    # What is lost before the first packet that came is never known of, a run of losses at the very end not yet.
    first = min(set(range(network.n_sent)) - network.lost)
    known = sum(first < number < network.n_sent - 3 * TAIL for number in network.lost)
    n_overtaken_first = 2  # RFC 3550 appendix A.3 expects nothing before the first that came, and counts it all the same
    assert known - n_overtaken_first <= closed.packets_lost <= len(network.lost) + TAIL


def over(conditions: Conditions, n_ticks: int = CALL) -> list[tuple[FarEnd, Heard, StreamClosed]]:
    """The same conditions by four seeds, every other call secured."""
    with box() as made:
        far_ends = [made.call(conditions, seed, secured=seed % 2 == 1) for seed in SEEDS]
        made.run(n_ticks)
        return [(far_end, made.heard(far_end), made.close(far_end)) for far_end in far_ends]


def test_clean_network_every_frame_is_heard_once_and_soon() -> None:
    for far_end, heard, closed in over(Conditions()):
        assert [number for number in heard.numbers if number < far_end.n_frames - TAIL] == spoken(far_end)
        assert REPEATED not in heard.frames
        assert max(heard.delays_s) <= 0.080  # 20 ms of it the network's
        assert (closed.packets_lost, closed.packets_late, closed.packets_dropped) == (0, 0, 0)


@pytest.mark.parametrize(
    "conditions", [Conditions(duplicates=0.3), Conditions(jitter_ms=38), Conditions(jitter_ms=38, duplicates=0.3)], ids=str
)
def test_duplicates_and_overtaking_change_nothing_that_is_heard(conditions: Conditions) -> None:
    for far_end, heard, closed in over(conditions):
        # The delay is learnt: a frame or three come too late in the first seconds, none after.
        assert [number for number in unheard(far_end, heard) if number > LEARNT_FRAMES] == []
        assert len(unheard(far_end, heard)) <= 3
        assert_in_order(far_end, heard)
        assert closed.packets_late <= 3
        assert closed.packets_lost <= TAIL  # those that others have overtaken at the end
        replayed = far_end.network.n_doubled if far_end.srtp is not None else 0  # RFC 3711 section 3.3.2: refused
        assert replayed - TAIL <= closed.packets_dropped <= replayed


@pytest.mark.parametrize("burst_packets", [1.0, 4.0])
def test_5_percent_lost_and_40_ms_of_jitter_cost_at_most_1_percent_more(burst_packets: float) -> None:
    for far_end, heard, closed in over(Conditions(loss=0.05, jitter_ms=40, burst_packets=burst_packets)):
        assert len(unheard(far_end, heard)) <= 0.01 * len(spoken(far_end))
        assert_in_order(far_end, heard)
        assert_counted(far_end, closed)
        assert np.percentile(heard.delays_s, 99) <= 0.140


def test_20_percent_lost_is_still_a_call() -> None:
    for far_end, heard, closed in over(Conditions(loss=0.2, jitter_ms=40)):
        assert len(unheard(far_end, heard)) <= 0.02 * len(spoken(far_end))
        assert_in_order(far_end, heard)
        assert_counted(far_end, closed)
        # What is missing singly is concealed: ticks of a talkspurt are hardly ever silent.
        assert heard.frames.count(REPEATED) > 0.1 * len(spoken(far_end))


def test_queue_that_fills_and_empties_loses_nothing_of_the_sound() -> None:
    for far_end, heard, closed in over(Conditions(jitter_ms=80, keeps_order=True)):
        assert len(unheard(far_end, heard)) <= 0.01 * len(spoken(far_end))
        assert_in_order(far_end, heard)
        assert closed.packets_lost == 0


def change_source(far_end: FarEnd) -> None:
    far_end.ssrc, far_end.sequence, far_end.timestamp = far_end.ssrc ^ 0x5555, far_end.sequence + 20_000, far_end.timestamp + 123_456_789


def jump_sequence(far_end: FarEnd) -> None:
    far_end.sequence += 20_000


def jump_time(far_end: FarEnd) -> None:
    far_end.sequence, far_end.timestamp = far_end.sequence + 20_000, far_end.timestamp - 50_000_000


@pytest.mark.parametrize("change", [change_source, jump_sequence, jump_time])
def test_source_or_numbers_that_change_in_mid_call_cost_a_moment(change: object) -> None:
    assert callable(change)
    with box() as made:
        far_ends = [made.call(Conditions(jitter_ms=10), seed, secured=seed % 2 == 1) for seed in SEEDS]
        made.run(300)
        for far_end in far_ends:
            change(far_end)
        made.run(300)
        for far_end in far_ends:
            heard = made.heard(far_end)
            assert_in_order(far_end, heard)
            assert len(unheard(far_end, heard)) <= 5
            assert max(heard.delays_s) <= 0.100
            closed = made.close(far_end)
            assert closed.packets_lost <= 5
            assert closed.packets_received >= far_end.n_frames - TAIL
            assert not [report for report in far_end.reports if isinstance(report, StreamDead)]


def drift(ppm: float, minutes: float) -> None:
    """A clock that is not ours is followed: what it is too fast or too slow is taken or given in pauses, and nobody waits longer for it."""
    with box() as made:
        far_end = made.call(Conditions(jitter_ms=15), 1, drift_ppm=ppm)
        made.run(round(minutes * MINUTE))
        heard = made.heard(far_end)
        assert_in_order(far_end, heard)
        assert unheard(far_end, heard) == []
        assert REPEATED not in heard.frames
        assert max(heard.delays_s) <= 0.120
        closed = made.close(far_end)
        assert (closed.packets_lost, closed.packets_late) == (0, 0)
        assert abs(far_end.n_frames - minutes * MINUTE * (1 + ppm * 1e-6)) <= 2


@pytest.mark.parametrize("ppm", [1000, -1000])
def test_clock_that_drifts_by_three_frames_is_followed_in_the_pauses(ppm: int) -> None:
    """60 ms, as 100 ppm come to in ten minutes; `test_clock_that_drifts_for_an_hour…` has the pace of real clocks."""
    drift(ppm, 1)


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [100, -100])
def test_clock_that_drifts_for_an_hour_is_followed_in_the_pauses(ppm: int) -> None:
    drift(ppm, 60)


CODECS = {"pcma": (8, 8000, 160), "g722": (9, 16_000, 160), "l16_16000": (97, 16_000, 320), "opus": (96, 16_000, 960)}
"""Payload type, rate of the samples, timestamp step."""


def caller_of(made: Box, codec: str, conditions: Conditions, seed: int) -> FarEnd:
    payload_type, rate_hz, step = CODECS[codec]
    encoder = new_encoder(codec)
    return made.call(
        conditions,
        seed,
        codec=codec,
        encode=lambda number: audio.ALAW.encode(spoken_frame(number)) if codec == "pcma" else encoder.encode(spoken_frame(number, rate_hz)),
        payload_type=payload_type,
        timestamp_step=step,
    )


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_loses_no_more_than_the_network(codec: str) -> None:
    with box() as made:
        far_ends = [caller_of(made, codec, Conditions(loss=0.05, jitter_ms=40), seed) for seed in range(4)]
        made.run(500)
        for far_end in far_ends:
            heard = made.heard(far_end)
            talk_ticks = far_end.n_frames * TALK_FRAMES / (TALK_FRAMES + PAUSE_FRAMES)
            n_sounding = sum(frame != -1 for frame in heard.frames)
            assert n_sounding >= 0.94 * talk_ticks  # Opus and the others fill most of the gaps
            assert n_sounding <= 1.03 * talk_ticks
            closed = made.close(far_end)
            assert_counted(far_end, closed)
            assert closed.packets_late <= 0.01 * far_end.n_frames


def test_same_seed_gives_the_same_call() -> None:
    first, second = (over(Conditions(loss=0.1, jitter_ms=60, duplicates=0.1), 250)[0] for _ in range(2))
    assert first[1].frames == second[1].frames
    assert first[1].delays_s == pytest.approx(second[1].delays_s, abs=1e-9)
    assert first[1].delays_s[0] < 10 * TICK_S
