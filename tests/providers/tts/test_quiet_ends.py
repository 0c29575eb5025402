from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.providers.tts.quiet_ends import QuietEnds

RATE_HZ = 1_000


def sound(*levels: tuple[int, int]) -> bytes:
    return b"".join(np.full(n, level, dtype="<i2").tobytes() for n, level in levels)


def run(ends: QuietEnds, pcm: bytes, sizes: list[int]) -> bytes:
    out, at = b"", 0
    for size in [*sizes, len(pcm)]:
        out += ends.take(pcm[at : at + 2 * size])
        at += 2 * size
    return out + ends.end()


@given(st.lists(st.integers(1, 90), max_size=12))
def test_ends_are_the_same_however_the_sound_is_cut(sizes: list[int]) -> None:
    pcm = sound((50, 3), (100, 9_000), (40, 2), (30, -9_000), (200, 5))
    ends = QuietEnds(RATE_HZ, None)
    assert run(ends, pcm, sizes) == sound((10, 3), (100, 9_000), (40, 2), (30, -9_000), (60, 5))
    assert ends.n_skipped == 40


@pytest.mark.parametrize("n_silent", [20, 400])
def test_pause_has_its_length_whatever_silence_the_voice_made(n_silent: int) -> None:
    out = run(QuietEnds(RATE_HZ, 250), sound((100, 9_000), (n_silent, 1)), [])
    assert len(out) == 2 * 350


def test_sentence_without_a_sound_gives_nothing() -> None:
    assert run(QuietEnds(RATE_HZ, 250), sound((500, 4)), [30, 40]) == b""
