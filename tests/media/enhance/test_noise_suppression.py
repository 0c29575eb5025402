"""Noise suppression, judged by the scale-invariant signal-to-distortion ratio against the clean speech."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import talk

from active_call.media.enhance.noise_suppression import DELAY_MS, NoiseSuppressor

RATE_HZ = 8000
DELAY = DELAY_MS * 8


def clean_speech(seconds: int = 30) -> np.ndarray:
    """Speech with pauses of half a second every two seconds, float in [-1, 1)."""
    spoken = talk.speech()[: seconds * RATE_HZ].reshape(-1, 2 * RATE_HZ) / 32768 * 0.4
    return np.concatenate([np.concatenate([part, np.zeros(RATE_HZ // 2)]) for part in spoken])


def white(n: int) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, n)


def pink(n: int) -> np.ndarray:
    spectrum = np.fft.rfft(white(n))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n)


def car(n: int) -> np.ndarray:
    return np.fft.irfft(np.fft.rfft(white(n)) / (1 + (np.fft.rfftfreq(n, 1 / RATE_HZ) / 150) ** 2), n)


def fan(n: int) -> np.ndarray:
    t = np.arange(n) / RATE_HZ
    return white(n) + 1.2 * np.sin(2 * np.pi * 120 * t) + 0.6 * np.sin(2 * np.pi * 360 * t)


def crowd(n: int) -> np.ndarray:
    rest = talk.speech()[60 * RATE_HZ :].astype(float)
    return np.sum([np.resize(rest[k * 40 * RATE_HZ :], n) for k in range(10)], axis=0)


def with_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    voiced = speech[speech != 0]
    return speech + noise * np.sqrt((voiced**2).mean() / (noise**2).mean() / 10 ** (snr_db / 10))


def si_sdr_db(reference: np.ndarray, heard: np.ndarray) -> float:
    reference, heard = reference - reference.mean(), heard - heard.mean()
    part = (heard @ reference) / (reference @ reference) * reference
    return float(10 * np.log10((part @ part) / ((heard - part) @ (heard - part))))


def suppressed(sound: np.ndarray, rate_hz: int = RATE_HZ) -> np.ndarray:
    n = rate_hz // 50
    suppressor = NoiseSuppressor(2, rate_hz)
    suppressor.reset(1)
    frames = sound[: len(sound) // n * n].reshape(-1, 1, n).astype(np.float32)
    return np.concatenate([suppressor.process(frame, np.array([1])) for frame in frames], axis=1)[0]


CASES: list[tuple[Callable[[int], np.ndarray], int, float]] = [
    (white, 0, 5.5), (white, 10, 3.0), (pink, 0, 3.5), (pink, 10, 2.5), (car, 0, 6.0), (car, 10, 3.5), (fan, 5, 4.5), (crowd, 5, 0.5)
]  # fmt: skip


@pytest.mark.parametrize(("make", "snr_db", "gain_db"), CASES)
def test_speech_in_noise_comes_out_clearer(make: Callable[[int], np.ndarray], snr_db: int, gain_db: float) -> None:
    speech = clean_speech()
    noisy = with_noise(speech, make(len(speech)), snr_db)
    heard = suppressed(noisy)[DELAY:]
    before, after = si_sdr_db(speech, noisy), si_sdr_db(speech[: len(heard)], heard)
    assert after - before > gain_db


def test_clean_speech_passes_nearly_untouched() -> None:
    speech = clean_speech()
    heard = suppressed(speech)[DELAY:]
    assert si_sdr_db(speech[: len(heard)], heard) > 15


def test_noise_alone_becomes_softer_by_the_floor_within_a_second() -> None:
    noise = 0.02 * white(10 * RATE_HZ)
    heard = suppressed(noise)
    assert 10 * np.log10((heard[RATE_HZ:] ** 2).mean() / (noise**2).mean()) < -13


def test_noise_that_begins_in_mid_call_is_learned() -> None:
    noise = 0.02 * white(20 * RATE_HZ)
    noise[: 5 * RATE_HZ] *= 0.05
    heard = suppressed(noise)
    last = slice(15 * RATE_HZ, 20 * RATE_HZ)
    assert 10 * np.log10((heard[last] ** 2).mean() / (noise[last] ** 2).mean()) < -12


def test_digital_silence_stays_silent() -> None:
    assert np.abs(suppressed(np.zeros(RATE_HZ))).max() < 1e-6


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_streams_in_one_batch_sound_as_each_alone(rate_hz: int) -> None:
    n = rate_hz // 50
    sounds = np.random.default_rng(7).normal(0, 0.05, (3, 40 * n)).astype(np.float32)
    together = NoiseSuppressor(8, rate_hz)
    slots = np.array([6, 0, 3])
    for slot in slots.tolist():
        together.reset(slot)
    heard = np.concatenate([together.process(sounds[:, k * n : (k + 1) * n], slots) for k in range(40)], axis=1)
    for row in range(3):
        assert np.allclose(heard[row], suppressed(sounds[row], rate_hz), atol=1e-5)
    together.reset(0)
    again = np.concatenate([together.process(sounds[1:2, k * n : (k + 1) * n], np.array([0])) for k in range(40)], axis=1)
    assert np.allclose(again[0], heard[1], atol=1e-5)
