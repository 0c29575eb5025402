"""Automatic gain control, on speech of all levels."""

from __future__ import annotations

import numpy as np
import pytest
import talk

from active_call.media.enhance.gain import GainControl, GainSettings

RATE_HZ = 8000
FRAME = 160


def speech(peak_dbfs: float, seconds: int = 40, noise_dbfs: float = -90.0) -> np.ndarray:
    """Speech whose loudest peaks are at `peak_dbfs`, with pauses, on noise."""
    spoken = talk.speech()[: seconds * RATE_HZ].reshape(-1, 2 * RATE_HZ).astype(float)
    with_pauses = np.concatenate([np.concatenate([part, np.zeros(RATE_HZ // 2)]) for part in spoken])
    level = 10 ** (peak_dbfs / 20) / np.percentile(np.abs(with_pauses), 99.9)
    return with_pauses * level + np.random.default_rng(1).normal(0, 10 ** (noise_dbfs / 20), len(with_pauses))


def controlled(sound: np.ndarray, settings: GainSettings = GainSettings()) -> tuple[np.ndarray, np.ndarray]:  # noqa: B008
    """What is heard, and the gain after each frame."""
    control = GainControl(3)
    control.reset(1, settings)
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, 1, FRAME).astype(np.float32)
    heard, gains = [], []
    for frame in frames:
        heard.append(control.process(frame, np.array([1]))[0])
        gains.append(control.gain_db(1))
    return np.concatenate(heard), np.array(gains)


def peak_dbfs(sound: np.ndarray) -> float:
    return float(20 * np.log10(np.percentile(np.abs(sound), 99.9)))


@pytest.mark.parametrize("level_dbfs", [-10.0, -25.0, -40.0])
def test_speech_of_any_level_comes_to_the_headroom(level_dbfs: float) -> None:
    heard, _ = controlled(speech(level_dbfs))
    assert peak_dbfs(heard[-20 * RATE_HZ :]) == pytest.approx(-5.0, abs=4.0)


def test_gain_begins_where_it_was_told_and_moves_no_faster_than_it_may() -> None:
    settings = GainSettings(initial_gain_db=10, max_gain_change_db_per_second=3)
    _, gains = controlled(speech(-45), settings)
    assert gains[0] == pytest.approx(10, abs=0.1)
    assert np.abs(np.diff(gains)).max() <= 3 / 50 + 1e-9
    assert gains[-1] > 20


def test_gain_never_exceeds_its_maximum_and_never_makes_softer() -> None:
    _, gains = controlled(speech(-60), GainSettings(max_gain_db=20))
    assert gains.max() <= 20
    _, loud = controlled(speech(-1))
    assert loud.min() >= 0


def test_gain_stands_still_while_nobody_speaks() -> None:
    talking = speech(-40, seconds=10)
    quiet = np.random.default_rng(2).normal(0, 1e-4, 20 * RATE_HZ)
    _, gains = controlled(np.concatenate([talking, quiet]))
    assert np.diff(gains[len(talking) // FRAME + 5 :]).max() <= 0


def test_noise_between_the_words_is_not_made_louder_than_allowed() -> None:
    sound = speech(-40, noise_dbfs=-66)
    heard, _ = controlled(sound)
    pauses = heard[-20 * RATE_HZ :].reshape(-1, FRAME)
    levels = np.sort(np.sqrt((pauses**2).mean(axis=1)))
    assert 20 * np.log10(levels[: len(levels) // 10].mean()) < -48


def test_short_noises_do_not_raise_the_gain() -> None:
    clicks = np.random.default_rng(3).normal(0, 1e-4, 20 * RATE_HZ)
    for start in range(0, len(clicks), RATE_HZ):
        clicks[start : start + 400] += 0.01  # 50 ms
    _, gains = controlled(clicks)
    assert np.diff(gains).max() <= 0


def test_voice_detector_decides_where_there_is_one() -> None:
    control = GainControl(1)
    control.reset(0, GainSettings(initial_gain_db=0))
    tone = (0.001 * np.sin(np.arange(FRAME))).astype(np.float32)[None]
    for _ in range(100):
        control.process(tone, np.zeros(1, np.intp), np.array([False]))
    assert control.gain_db(0) == 0
    for _ in range(100):
        control.process(tone, np.zeros(1, np.intp), np.array([True]))
    assert control.gain_db(0) > 5


def test_limiter_keeps_a_sudden_shout_below_full_scale_without_clipping_it_flat() -> None:
    shout = np.concatenate([speech(-35, seconds=20), 0.9 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)])
    limited, gains = controlled(shout)
    unlimited, _ = controlled(shout, GainSettings(enable_limiter=False))
    assert gains[-51] > 15
    assert np.abs(limited).max() <= 1
    after_first_block = limited[-RATE_HZ + 40 :]
    assert (np.abs(after_first_block) > 0.99).mean() < 0.001
    assert (np.abs(unlimited[-RATE_HZ + 40 :]) > 0.99).mean() > 0.5


def test_gain_moves_without_a_step() -> None:
    heard, _ = controlled(np.full(5 * RATE_HZ, 0.01), GainSettings(initial_gain_db=0, max_gain_change_db_per_second=12))
    assert np.abs(np.diff(heard)).max() < 0.0001


def test_streams_in_one_batch_are_controlled_as_each_alone() -> None:
    sounds = np.stack([speech(-40, seconds=4), speech(-15, seconds=4)]).astype(np.float32)
    control = GainControl(9)
    slots = np.array([8, 2])
    for slot in slots.tolist():
        control.reset(slot)
    heard = np.concatenate([control.process(sounds[:, n : n + FRAME], slots) for n in range(0, sounds.shape[1], FRAME)], axis=1)
    for row in range(2):
        assert np.allclose(heard[row], controlled(sounds[row])[0], atol=1e-6)
