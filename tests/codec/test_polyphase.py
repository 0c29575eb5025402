"""The batched filters by their response to every frequency, and against soxr; the figures in the module's docstring are held here."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from active_call.codec.polyphase import OneStreamResampler, Resampler
from active_call.codec.resample import Downsampler16to8, Upsampler8to16

from .voices import speech

SLOT = np.array([0])
UP = [(8000, 16_000), (8000, 48_000), (16_000, 48_000), (8000, 24_000), (24_000, 48_000)]
DOWN = [(high, low) for low, high in UP]


def run(rates: tuple[int, int], signal: np.ndarray) -> np.ndarray:
    resampler = Resampler(1, *rates)
    return np.concatenate([resampler.process(frame[None], SLOT)[0] for frame in signal.reshape(-1, rates[0] // 50)])


def impulse_response(rates: tuple[int, int], position: int) -> np.ndarray:
    signal = np.zeros(rates[0] // 50 * 6, np.float32)
    signal[position] = 0.5
    return run(rates, signal).astype(np.float64) * 2


def gains_db(rates: tuple[int, int], frequencies: np.ndarray) -> np.ndarray:
    """The gain at frequencies of the higher rate: of the interpolator's output, images included, or of the decimator before it folds."""
    source, target = rates
    high, factor = max(rates), max(rates) // min(rates)
    if target > source:
        response, offset, scale = impulse_response(rates, source // 50), 0, 1 / factor
        times = (np.arange(len(response)) + offset) / high
    else:
        # One impulse a phase gives all taps of the filter.
        pieces = [impulse_response(rates, source // 50 + phase) for phase in range(factor)]
        response = np.stack(pieces[::-1], axis=1).reshape(-1)
        times, scale = np.arange(len(response)) / high, 1.0
    spectrum = np.exp(-2j * np.pi * frequencies[:, None] * times) @ response * scale
    return 20 * np.log10(np.abs(spectrum) + 1e-9)


@pytest.mark.parametrize("rates", UP + DOWN)
def test_pass_band_is_flat_and_stop_band_is_down(rates: tuple[int, int]) -> None:
    low, high = min(rates), max(rates)
    passed = np.linspace(10, 0.425 * low, 200)
    assert np.abs(gains_db(rates, passed)).max() < 0.01
    assert gains_db(rates, np.array([low / 2]))[0] == pytest.approx(-6.0, abs=0.1)
    stopped = np.concatenate([np.linspace(0.575 * low, 0.582 * low, 20), np.linspace(0.582 * low, high / 2, 800)])
    gains = gains_db(rates, stopped)
    assert gains.max() < -60
    assert gains[20:].max() < -78


@pytest.mark.parametrize("rates", UP + DOWN)
def test_speech_equals_soxr_within_the_pass_band(rates: tuple[int, int]) -> None:
    source, target = rates
    sound = speech(source, 2).astype(np.float32) / 32768
    band_limited = soxr.resample(
        soxr.resample(sound, source, int(min(rates) * 0.8), quality="VHQ"), int(min(rates) * 0.8), source, quality="VHQ"
    )
    sound = np.zeros(source // 50 * 100, np.float32)
    sound[: min(len(sound), len(band_limited))] = band_limited[: len(sound)]
    expected = soxr.resample(sound, source, target, quality="VHQ")
    found = run(rates, sound)
    delay = round(Resampler(1, *rates).delay_ms * target / 1000)
    n = min(len(expected), len(found) - delay) - target // 50
    error = found[delay : delay + n] - expected[:n]
    assert 10 * np.log10((expected[:n] ** 2).sum() / (error**2).sum()) > 60


@pytest.mark.parametrize("rates", UP + DOWN)
def test_slots_are_apart_and_reset_begins_anew(rates: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    n = rates[0] // 50
    signals = generator.integers(-20_000, 20_000, (3, n * 6)).astype(np.int16)
    together = Resampler(5, *rates)
    slots = np.array([4, 0, 2])
    frames = [together.process(signals[:, at : at + n], slots) for at in range(0, n * 6, n)]
    for row in range(3):
        np.testing.assert_allclose(np.concatenate([frame[row] for frame in frames]), run(rates, signals[row]), atol=1e-6)
    together.reset(0)
    np.testing.assert_allclose(together.process(signals[1:2, :n], np.array([0]))[0], run(rates, signals[1, :n]), atol=1e-6)


@pytest.mark.parametrize("rates", UP + DOWN)
def test_silence_stays_silent_and_full_scale_does_not_wrap(rates: tuple[int, int]) -> None:
    n = rates[0] // 50
    assert not run(rates, np.zeros(n * 3, np.int16)).any()
    square = np.where(np.arange(n * 10) // 11 % 2, 32767, -32768).astype(np.int16)
    output = run(rates, square)
    assert output.min() >= -1
    assert output.max() <= np.float32(32767 / 32768)


def test_it_agrees_with_the_filters_for_8_and_16_khz() -> None:
    sound = speech(8000, 1)
    upsampler, downsampler = Upsampler8to16(1), Downsampler16to8(1)
    wide = np.concatenate([upsampler.process(frame[None], SLOT)[0] for frame in sound.reshape(-1, 160)])
    np.testing.assert_allclose(run((8000, 16_000), sound)[: len(wide)], wide, atol=2e-3)
    narrow = np.concatenate([downsampler.process(frame[None], SLOT)[0] for frame in wide.reshape(-1, 320)])
    found = run((16_000, 8000), wide)
    shift = int(np.argmax(np.correlate(found[400:4000], narrow[400:4000], "full"))) - 3599
    assert abs(shift) <= 1


@pytest.mark.parametrize("rates", [(8000, 8000), (16_000, 24_000), (44_100, 8000), (8000, 44_100)])
def test_other_rates_raise_value_error(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no filter"):
        Resampler(1, *rates)


@pytest.mark.parametrize("rates", [(8000, 16_000), (16_000, 8000), (24_000, 48_000), (48_000, 24_000), (48_000, 16_000), (8000, 48_000)])
def test_stream_by_itself_sounds_as_in_a_batch_whatever_the_length_of_its_pieces(rates: tuple[int, int]) -> None:
    source_hz, target_hz = rates
    batch, frame = Resampler(1, *rates), source_hz // 50
    sound = np.random.default_rng(7).normal(0, 6000, frame * 6).clip(-32_768, 32_767).astype(np.int16)
    expected = [batch.process(sound[at : at + frame].reshape(1, -1), np.zeros(1, np.intp))[0] for at in range(0, len(sound), frame)]
    factor = max(rates) // min(rates)
    for n_samples in (frame, factor * 7, len(sound)):
        alone = OneStreamResampler(*rates)
        assert alone.factor == factor
        found = np.concatenate([alone.process(sound[at : at + n_samples]) for at in range(0, len(sound), n_samples)])
        assert len(found) == len(sound) * target_hz // source_hz
        assert np.abs(found - np.concatenate(expected) * 32_768).max() <= 1.0
    with pytest.raises(ValueError, match="no filter"):
        OneStreamResampler(16_000, 24_000)
