"""Playing, sample by sample: a known ramp goes in and every frame that comes out is compared with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.media.send.mixer import Samples, add_saturated, faded_out
from active_call.media.send.play_queue import Began, Finished, PlayQueue, RanDry, RunsLow

FRAME = 160


def ramp(n: int, first: int = 1) -> bytes:
    return np.arange(first, first + n, dtype="<i2").tobytes()


def read(plays: PlayQueue, n_frames: int = 1) -> Samples:
    frames = np.zeros((n_frames, FRAME), np.int16)
    for frame in frames:
        plays.read(frame)
    return frames.reshape(-1)


def test_play_of_odd_length_is_read_exactly_and_ends_with_its_last_sample() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(250), end=True)
    assert read(plays).tolist() == list(range(1, 161))
    assert plays.take_marks() == [Began("a")]
    assert read(plays).tolist() == [*range(161, 251), *[0] * 70]
    assert plays.take_marks() == [Finished("a", True, 250, 250)]
    assert plays.is_idle


def test_play_behind_another_joins_without_a_gap() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(100), end=True)
    plays.append("b", ramp(60, first=1000), end=True)
    assert read(plays).tolist() == [*range(1, 101), *range(1000, 1060)]
    assert plays.take_marks() == [Began("a"), Finished("a", True, 100, 100), Began("b"), Finished("b", True, 60, 60)]


@given(st.lists(st.integers(0, 700), min_size=1, max_size=8))
def test_play_in_any_portions_sounds_like_the_whole(sizes: list[int]) -> None:
    plays = PlayQueue()
    first = 1
    for size in sizes:
        plays.append("a", ramp(size, first))
        first += size
    plays.append("a", b"", end=True)
    total = sum(sizes)
    assert read(plays, total // FRAME + 1)[:total].tolist() == list(range(1, total + 1))


def test_pause_freezes_at_the_sample_and_resume_continues_with_the_next() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(400), end=True)
    read(plays)
    plays.pause()
    assert not read(plays, 3).any()
    plays.resume()
    assert read(plays).tolist() == list(range(161, 321))


def test_stop_fades_over_the_samples_asked_for_and_counts_them_as_heard() -> None:
    plays = PlayQueue()
    plays.append("a", np.full(1000, 10_000, "<i2").tobytes(), end=True)
    read(plays)
    plays.take_marks()
    plays.stop(240)
    assert plays.take_marks() == []
    faded = read(plays, 3)
    assert plays.take_marks() == [Finished("a", False, 400, 1000)]
    assert np.all(np.diff(faded[:240]) <= 0)
    assert faded[0] > 9_990
    assert 4_500 < faded[119] < 5_500
    assert not faded[240:].any()


def test_stop_without_fade_is_silent_at_once() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(1000))
    read(plays)
    plays.stop(0)
    assert plays.take_marks() == [Began("a"), RunsLow("a", 840), Finished("a", False, 160, 1000)]
    assert not read(plays).any()


def test_stop_of_a_waiting_play_ends_it_unheard_and_leaves_the_current_one() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(400), end=True)
    plays.append("b", ramp(400), end=True)
    read(plays)
    plays.take_marks()
    plays.stop(160, name="b")
    assert plays.take_marks() == [Finished("b", False, 0, 400)]
    assert read(plays).tolist() == list(range(161, 321))


def test_play_that_runs_dry_tells_once_and_again_after_more_came() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(160))
    read(plays)
    assert plays.take_marks() == [Began("a"), RunsLow("a", 0)]
    read(plays, 3)
    assert plays.take_marks() == [RanDry("a")]
    plays.append("a", ramp(100, first=161))
    assert read(plays)[:100].tolist() == list(range(161, 261))
    assert plays.take_marks() == [RunsLow("a", 0), RanDry("a")]


def test_play_that_runs_low_tells_once_until_more_comes_and_not_at_all_when_it_is_closed() -> None:
    plays = PlayQueue()
    for _ in range(6):
        plays.append("a", ramp(4000))
    read(plays, 49)
    assert plays.take_marks() == [Began("a")]
    read(plays, 1)
    assert plays.take_marks() == [RunsLow("a", 16_000)]
    read(plays, 50)
    assert plays.take_marks() == []
    plays.append("a", ramp(4000))
    read(plays, 25)
    assert plays.take_marks() == [RunsLow("a", 8000)]
    plays.append("a", ramp(4000), end=True)
    read(plays, 75)
    assert plays.take_marks() == [Finished("a", True, 32_000, 32_000)]


def test_stop_while_paused_lets_nothing_more_be_heard() -> None:
    plays = PlayQueue()
    plays.append("a", ramp(1000))
    read(plays)
    plays.take_marks()
    plays.pause()
    plays.stop(160)
    assert plays.take_marks() == [Finished("a", False, 160, 1000)]
    assert not read(plays).any()


def test_mixing_clips_and_never_wraps() -> None:
    target = np.array([30_000, -30_000, 5], np.int16)
    add_saturated(target, np.array([10_000, -10_000, 5], np.int16))
    assert target.tolist() == [32767, -32768, 10]


@pytest.mark.parametrize("n", [1, 2, 160, 1600])
def test_fade_is_symmetric_and_falls_to_nothing(n: int) -> None:
    faded = faded_out(np.full(n, 20_000, np.int16)).astype(int)
    assert faded[0] <= 20_000
    assert np.all(np.diff(faded) <= 0)
    assert np.abs(faded + faded[::-1] - 20_000).max() <= 2
