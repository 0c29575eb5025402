"""The E-model against the figures of ITU-T G.107 and G.113, and against what must hold of any such estimate."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.codec.table import AUDIO_CODECS
from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.packet_jitter import PacketJitterBuffer
from active_call.rtp.quality import Losses, delay_impairment, estimate_mos, loss_impairment, mos_of, one_way_delay_ms

PERFECT = Losses(received=1000, lost=0, runs=0)


@pytest.mark.parametrize(
    ("r", "mos"), [(93.2, 4.41), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0), (100, 4.5), (-5, 1.0)]
)
def test_mos_of_rating_g107_annex_b(r: float, mos: float) -> None:
    """Table B.1 of G.107 and the ends of the scale."""
    assert mos_of(r) == pytest.approx(mos, abs=0.01)


@pytest.mark.parametrize(("delay_ms", "expected"), [(0, 0), (100, 0), (200, 3.04), (300, 14.76), (400, 24.07)])
def test_delay_impairment_g107_7_27(delay_ms: float, expected: float) -> None:
    """The equation by hand: at 200 ms X is 1, at 400 it is 2. G.114 calls 150 ms free of harm, which costs less than half a point."""
    assert delay_impairment(delay_ms) == pytest.approx(expected, abs=0.01)
    assert delay_impairment(150) < 0.5


def test_loss_impairment_g107_7_29() -> None:
    """1 % at random costs G.711 with concealment 95 / (1 + 25.1) = 3.6; 5 % cost 95 * 5 / 30.1 = 15.8."""
    assert loss_impairment("pcmu", PERFECT) == 0
    assert loss_impairment("pcmu", Losses(990, 10, 10)) == pytest.approx(3.64, abs=0.01)
    assert loss_impairment("pcmu", Losses(950, 50, 50)) == pytest.approx(15.78, abs=0.01)


def test_estimate_of_a_clean_call_is_the_best_there_is() -> None:
    for codec in AUDIO_CODECS:
        assert estimate_mos(codec.name, PERFECT, 90.0) == pytest.approx(4.41, abs=0.005)


def test_losses_in_bursts_cost_more_than_single_ones() -> None:
    single, burst = Losses(900, 100, 100), Losses(900, 100, 10)
    assert (single.share, burst.share) == (0.1, 0.1)
    assert single.burst_ratio == 1.0
    assert burst.burst_ratio == pytest.approx(9.0)
    assert estimate_mos("pcmu", burst, 90.0) < estimate_mos("pcmu", single, 90.0) - 0.3


def test_late_packets_count_as_lost_and_doubled_ones_not_at_all() -> None:
    assert Losses(950, 50, 50, late=50).share == pytest.approx(0.1)
    assert Losses(1000, 0, 0, duplicate=500).share == 0.0
    assert Losses(0, 0, 0).share == 0.0


def test_losses_of_several_sources_add_up() -> None:
    assert Losses(10, 1, 1, 2, 3) + Losses(20, 4, 2) == Losses(30, 5, 3, 2, 3)


def test_one_way_delay_sums_the_way_of_the_sound() -> None:
    assert one_way_delay_ms(round_trip_ms=80, buffered_ms=40) == 120
    assert one_way_delay_ms(round_trip_ms=0, buffered_ms=40, packet_ms=60) == 120


counts = st.integers(0, 100_000)


@given(counts, counts, counts, counts, st.floats(0, 2000), st.sampled_from([codec.name for codec in AUDIO_CODECS]))
def test_any_counts_give_a_score_that_never_rises_with_loss_or_delay(
    received: int, lost: int, runs: int, late: int, delay_ms: float, codec: str
) -> None:
    losses = Losses(received, lost, min(runs, lost), late)
    mos = estimate_mos(codec, losses, delay_ms)
    assert 1.0 <= mos <= 4.5
    assert estimate_mos(codec, losses, delay_ms + 50) <= mos
    if received:
        worse = Losses(received, lost, min(runs, lost), late + received // 10)
        assert estimate_mos(codec, worse, delay_ms) <= mos


@pytest.mark.parametrize("mean_run", [1, 5])
@pytest.mark.parametrize("kind", ["bytes", "packets"])
def test_buffers_count_runs_of_losses(kind: str, mean_run: int) -> None:
    """Losses of a two-state chain: about 5 % in runs of the given mean length."""
    generator = random.Random(mean_run)
    buffer = JitterBuffer() if kind == "bytes" else PacketJitterBuffer(8000)
    n_lost = n_runs = 0
    is_losing = False
    for n in range(10_000):
        was_losing, is_losing = is_losing, generator.random() < ((1 - 1 / mean_run) if is_losing else 0.05 / mean_run)
        if is_losing and n:
            n_lost += 1
            n_runs += not was_losing
        elif isinstance(buffer, JitterBuffer):
            buffer.push(n & 0xFFFF, n * 160, bytes(160), n * 0.02)
        else:
            buffer.push(n & 0xFFFF, n * 160, bytes(160), 160, n * 0.02)
        if isinstance(buffer, JitterBuffer):
            buffer.pop()
        else:
            buffer.start_tick()
            buffer.take(160)
    assert buffer.lost == pytest.approx(n_lost, abs=mean_run * 3)
    assert buffer.loss_runs == pytest.approx(n_runs, abs=1)
    assert Losses(buffer.received, buffer.lost, buffer.loss_runs).burst_ratio == pytest.approx(max(1, 0.95 * mean_run), rel=0.15)


def test_overtaken_packets_are_no_runs_of_losses() -> None:
    buffer = JitterBuffer()
    for n in (0, 1, 3, 2, 4, 7, 5, 6, 8, 10):
        buffer.push(n, n * 160, bytes(160), 0.0)
    assert (buffer.lost, buffer.loss_runs) == (1, 1)
