from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from scripted_engines import samples

from active_call.providers.asr.recent_sound import RecentSound


def filled(n: int, *, keep_from: int | None = None, piece: int = 320) -> RecentSound:
    sound = RecentSound(1_000, 10_000)
    for start in range(0, n, piece):
        sound.push(samples(start, piece), start, keep_from)
    return sound


def joined(sound: RecentSound, start: int) -> tuple[int, bytes]:
    pieces = list(sound.since(start))
    assert all(after[0] == before[0] + len(before[1]) // 2 for before, after in itertools.pairwise(pieces))
    return (pieces[0][0] if pieces else -1), b"".join(pcm for _, pcm in pieces)


def test_silence_keeps_little_and_what_is_marked_is_kept_up_to_the_maximum() -> None:
    assert joined(filled(32_000), 0)[0] == 32_000 - 1_280
    assert joined(filled(8_000, keep_from=3_000), 3_000) == (3_000, samples(3_000, 5_000))
    first, pcm = joined(filled(32_000, keep_from=3_000), 3_000)
    assert 32_000 - 10_320 < first <= 32_000 - 10_000 and pcm == samples(first, 32_000 - first)


def test_sound_that_goes_back_in_time_begins_anew_and_a_gap_stays_one() -> None:
    sound = filled(640)
    sound.push(samples(0, 320), 0)
    assert joined(sound, 0) == (0, samples(0, 320)) and sound.end == 320
    sound.push(samples(960, 320), 960)
    assert [sample for sample, _ in sound.since(0)] == [0, 960] and sound.end == 1_280
    assert [sample for sample, _ in sound.since(400)] == [960] and list(sound.since(5_000)) == []


@given(st.lists(st.integers(1, 700), min_size=1, max_size=60), st.integers(0, 20_000), st.integers(0, 20_000))
def test_what_is_marked_is_there_whatever_the_pieces(sizes: list[int], keep_from: int, start: int) -> None:
    sound, at = RecentSound(1_000, 10_000), 0
    for size in sizes:
        sound.push(samples(at, size), at, keep_from)
        at += size
    wanted = max(start, min(keep_from, at - 1_000), at - 10_000, 0)
    first, pcm = joined(sound, wanted)
    assert pcm == samples(wanted, max(0, at - wanted)) and (first == wanted or not pcm)
    assert sum(len(piece) // 2 for _, piece in sound.since(0)) < 10_000 + 700
