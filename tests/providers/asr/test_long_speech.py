from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from active_call.providers.asr.long_speech import MAX_PART_S, split_long
from searches import searching

RATE = 16_000


@searching(12)
@given(st.integers(min_value=0, max_value=45 * RATE))
def test_parts_together_are_the_whole_and_none_is_too_long(n_samples: int) -> None:
    sound = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)
    parts = list(split_long(sound))
    assert np.array_equal(np.concatenate(parts), sound)
    assert all(len(part) <= MAX_PART_S * RATE for part in parts)
    assert len(parts) <= n_samples / (7 * RATE) + 1


def test_cut_lies_in_the_pause() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 20 * RATE).astype(np.float32)
    pause = slice(10 * RATE, 10 * RATE + RATE // 4)
    sound[pause] = 0
    first, _ = split_long(sound)
    assert pause.start < len(first) < pause.stop
