"""Pauses of what plays: the exact sample, the fade, and going back to the beginning of a word."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from active_call.media.send.play_queue import REWIND_MS, RISE_MS, Finished, PlayQueue

RATE_HZ = 8000
FRAME = 160
RISE = RATE_HZ * RISE_MS // 1000
FADE = 160
SOUND = (np.arange(8 * FRAME) % 1000 + 500).astype(np.int16)


def _queue(*pieces: np.ndarray) -> PlayQueue:
    plays = PlayQueue(RATE_HZ)
    for piece in pieces:
        plays.append("a", piece.tobytes())
    plays.append("a", b"", end=True)
    return plays


def _read(plays: PlayQueue, n_frames: int = 1) -> np.ndarray:
    frames = np.zeros((n_frames, FRAME), np.int16)
    for frame in frames:
        plays.read(frame)
    return frames.reshape(-1)


def test_paused_play_fades_and_goes_on_at_the_exact_sample() -> None:
    plays = _queue(SOUND)
    before = _read(plays, 3)
    plays.pause(FADE)
    fading, silent = _read(plays), _read(plays, 5)
    plays.resume()
    after = _read(plays, 5)
    assert np.array_equal(before, SOUND[: 3 * FRAME])
    assert 0 < fading[-1] + 20 < fading[0] and fading[0] > 0.9 * SOUND[3 * FRAME]
    assert not silent.any()
    assert np.array_equal(after[RISE:], SOUND[3 * FRAME + RISE :])
    assert abs(int(after[0])) < 50 and np.all(np.diff(after[:RISE].astype(int)) > 0)


def test_fade_is_not_counted_as_heard() -> None:
    plays = _queue(SOUND)
    _read(plays, 3)
    plays.pause(FADE)
    _read(plays, 3)
    plays.stop(0)
    assert plays.take_marks()[-1] == Finished("a", False, 3 * FRAME, len(SOUND))


def test_resumed_play_goes_back_over_pieces_that_were_read_to_their_end() -> None:
    plays = _queue(SOUND[:200], SOUND[200:230], SOUND[230:])
    _read(plays, 3)
    plays.pause()
    plays.resume(back=330)
    assert np.array_equal(_read(plays, 4)[RISE:], SOUND[150 + RISE : 150 + 4 * FRAME])


@given(
    cuts=st.lists(st.integers(1, len(SOUND) - 1), max_size=6, unique=True),
    pauses=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 400), st.sampled_from([0, 40, FADE])), max_size=6),
)
def test_nothing_is_lost_or_counted_twice_in_any_order_of_pauses(cuts: list[int], pauses: list[tuple[int, int, int, int]]) -> None:
    bounds = [0, *sorted(cuts), len(SOUND)]
    plays = _queue(*[SOUND[start:end] for start, end in itertools.pairwise(bounds)])
    at = 0
    for n_before, n_paused, back, fade in pauses:
        for _ in range(n_before):
            if at < len(SOUND):
                assert np.array_equal(_read(plays)[RISE:], np.pad(SOUND, (0, FRAME))[at + RISE : at + FRAME])
                at += FRAME
        if at >= len(SOUND):
            break
        plays.pause(fade)
        _read(plays, n_paused)
        plays.resume(back)
        at = max(0, at - back) if at else 0
    rest = len(SOUND) - at
    assert sum(play.left for play in plays._plays) == max(0, rest)
    _read(plays, len(SOUND) // FRAME + 2)
    finished = [mark for mark in plays.take_marks() if isinstance(mark, Finished)]
    assert finished == [Finished("a", True, len(SOUND), len(SOUND))]


def test_no_more_than_half_a_second_is_gone_back() -> None:
    sound = (np.arange(RATE_HZ * 2) % 1000 + 500).astype(np.int16)
    plays = _queue(*np.split(sound, 100))
    _read(plays, 90)
    plays.pause()
    plays.resume(back=RATE_HZ)
    limit = RATE_HZ * REWIND_MS // 1000
    assert np.array_equal(_read(plays)[RISE:], sound[90 * FRAME - limit + RISE : 91 * FRAME - limit])
