"""Sound to judge codecs with: a synthetic voice with a gliding pitch, formants, noise and pauses, the same for every run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FORMANTS = ((700, 1220, 2600), (300, 2200, 3000), (500, 900, 2400), (400, 1700, 2500))


def voiced(rate_hz: int, seconds: float, *, pitch_hz: float = 120.0, seed: int = 1, level: float = 8000.0) -> NDArray[np.int16]:
    """A sung vowel: pulses at a slightly moving pitch through three resonances, peak about `level`."""
    generator = np.random.default_rng(seed)
    n_samples = int(rate_hz * seconds)
    time = np.arange(n_samples) / rate_hz
    pitch = pitch_hz * (1 + 0.03 * np.sin(2 * np.pi * 3 * time))
    turns = np.cumsum(pitch) / rate_hz
    sound = np.zeros(n_samples)
    vowel = FORMANTS[seed % len(FORMANTS)]
    for harmonic in range(1, int(0.45 * rate_hz / pitch_hz)):
        frequency = harmonic * pitch_hz
        gain = sum(1 / (1 + ((frequency - formant) / 120) ** 2) for formant in vowel) + 0.01
        sound += gain * np.cos(2 * np.pi * (harmonic * turns + generator.random()))
    return np.asarray(np.rint(sound / np.abs(sound).max() * level), np.int16)


def speech(rate_hz: int, seconds: float, *, seed: int = 1, pause: float = 0.3) -> NDArray[np.int16]:
    """Vowels, hisses and pauses in turn, each with soft edges; a faint noise lies under everything."""
    generator = np.random.default_rng(seed)
    n_samples = int(rate_hz * seconds)
    sound = generator.normal(0, 12, n_samples)
    at = 0
    while at < n_samples:
        n = int(rate_hz * generator.uniform(0.12, 0.4))
        kind = generator.random()
        if kind >= pause:
            if kind < pause + 0.15:
                piece = np.diff(generator.normal(0, 900, n + 1))
            else:
                pitch_hz, vowel = float(generator.uniform(90, 230)), int(generator.integers(100))
                piece = voiced(rate_hz, n / rate_hz, pitch_hz=pitch_hz, seed=vowel).astype(float)
            edge = min(n // 4, rate_hz // 50)
            piece[:edge] *= np.linspace(0, 1, edge)
            piece[-edge:] *= np.linspace(1, 0, edge)
            room = min(len(piece), n_samples - at)
            sound[at : at + room] += piece[:room]
        at += n
    return np.asarray(np.clip(np.rint(sound), -32768, 32767), np.int16)


def snr_db(expected: NDArray[np.int16], found: NDArray[np.int16]) -> float:
    """Signal to error in dB; 200 when equal."""
    signal, error = expected.astype(float), found.astype(float) - expected.astype(float)
    return float(10 * np.log10((signal**2).sum() / (error**2).sum())) if error.any() else 200.0


def level_db(sound: NDArray[np.int16]) -> float:
    """Mean power in dB re one step."""
    return float(10 * np.log10((sound.astype(float) ** 2).mean() + 1e-9))
