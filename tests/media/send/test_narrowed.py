"""The frames sent, as the echo detector compares them: at 8 kHz, whatever their rate."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.media.send.pipeline import narrowed


@pytest.mark.parametrize("n_each", [1, 2, 3, 6])
def test_narrowed_frames_are_means_of_neighbouring_samples(n_each: int) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, (5, 160 * n_each)).astype(np.int16)
    samples[0], samples[1] = 32767, -32768
    narrow = narrowed(samples)
    wanted = [[sum(map(int, row[at : at + n_each])) / n_each for at in range(0, len(row), n_each)] for row in samples]
    assert narrow.dtype == np.int16 and narrow.shape == (5, 160)
    assert np.abs(narrow - np.array(wanted)).max() <= 1
    assert (narrow[0] == 32767).all() and (narrow[1] == -32768).all()


def test_memory_of_the_sender_is_narrowed_without_a_copy_of_its_rows() -> None:
    """The rows of a batch are the first ones of its memory."""
    memory = np.arange(10 * 320, dtype=np.int16).reshape(10, 320)
    assert narrowed(memory[:4]).tolist() == narrowed(memory).tolist()[:4]
