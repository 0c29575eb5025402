"""Speech-like sound for the bench, equal on every machine: voiced and unvoiced syllables in phrases, with pauses between them.

Nothing enters; 8 kHz samples leave, with the positions of speech. It is not a language, but a voice detector treats it as speech and its
pauses as silence (`tests/media/test_bench.py` checks that), unlike a tone or noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE_HZ: Final = 8000
FRAME_SAMPLES: Final = 160
SECONDS: Final = 24
PHRASE_S: Final = (1.0, 2.6)
PAUSE_S: Final = (0.7, 1.6)
SYLLABLE_S: Final = (0.14, 0.26)
PEAK: Final = 9000
NOISE_FLOOR: Final = 6.0
"""A quiet line has some noise."""

_VOWELS: Final = np.array([[730, 1090, 2440], [270, 2290, 3010], [530, 1840, 2480], [570, 840, 2410], [300, 870, 2240], [660, 1720, 2410]])
"""First three formants in Hz of a, i, e, o, u, ae (Peterson and Barney 1952, men)."""
_BANDWIDTHS: Final = np.array([80.0, 110.0, 170.0])

Wave = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Speech:
    """`frames`: (n, 160) int16, to be repeated; `is_phrase`: (n,) bool, which of them belong to a phrase."""

    frames: NDArray[np.int16]
    is_phrase: NDArray[np.bool_]

    def n_phrases(self, first: int, n_frames: int) -> int:
        """How many phrases are heard, completely or partly, in `n_frames` from frame `first` on, wrapping around the end."""
        heard = self.is_phrase[(first + np.arange(n_frames)) % len(self.is_phrase)]
        return int(heard[0]) + int(np.count_nonzero(heard[1:] & ~heard[:-1]))


@lru_cache(maxsize=1)
def speech() -> Speech:
    """About `SECONDS` of it; deterministic."""
    chance = np.random.default_rng(20)
    pieces: list[Wave] = []
    is_phrase: list[NDArray[np.bool_]] = []
    while sum(len(piece) for piece in pieces) < SECONDS * RATE_HZ:
        pause = np.zeros(_whole_frames(chance.uniform(*PAUSE_S)))
        phrase = _phrase(chance)
        pieces += [pause, phrase]
        is_phrase += [np.repeat(spoken, len(piece) // FRAME_SAMPLES) for spoken, piece in ((np.False_, pause), (np.True_, phrase))]
    wave = np.concatenate(pieces)
    wave *= PEAK / np.abs(wave).max()
    wave += chance.normal(0, NOISE_FLOOR, len(wave))
    return Speech(wave.astype(np.int16).reshape(-1, FRAME_SAMPLES), np.concatenate(is_phrase))


def _whole_frames(seconds: float) -> int:
    return round(seconds * RATE_HZ / FRAME_SAMPLES) * FRAME_SAMPLES


def _phrase(chance: np.random.Generator) -> Wave:
    """Syllables with one falling intonation."""
    n_samples = _whole_frames(chance.uniform(*PHRASE_S))
    lengths = chance.uniform(*SYLLABLE_S, size=64) * RATE_HZ
    ends = np.cumsum(lengths)
    syllable = np.searchsorted(ends, np.arange(n_samples), side="right")
    position = (np.arange(n_samples) - np.concatenate([[0], ends])[syllable]) / lengths[syllable]
    vowels = _VOWELS[chance.integers(len(_VOWELS), size=65)]
    blend = np.clip((position - 0.6) / 0.4, 0, 1)[:, None]
    formants = vowels[syllable] * (1 - blend) + vowels[syllable + 1] * blend
    pitch_hz = 135 - 30 * np.arange(n_samples) / n_samples + 6 * np.sin(2 * np.pi * 2.5 * np.arange(n_samples) / RATE_HZ)
    loudness = np.clip(np.sin(np.pi * np.clip((position - 0.15) / 0.85, 0, 1)), 0, 1) ** 0.6
    hiss = np.diff(chance.normal(0, 1, n_samples + 1)) * np.clip(1 - position / 0.25, 0, 1) * (syllable % 2)
    return np.asarray(_voiced(pitch_hz, formants) * loudness + 0.12 * hiss)


def _voiced(pitch_hz: Wave, formants: Wave) -> Wave:
    """Harmonics of a pulse train, weighted by the formants."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    wave = np.zeros(len(pitch_hz))
    for number in range(1, int(0.46 * RATE_HZ / pitch_hz.max())):
        frequency = pitch_hz[:, None] * number
        gain = (1 / (1 + ((frequency - formants) / _BANDWIDTHS) ** 2) * (1.0, 0.6, 0.3)).sum(axis=1)
        wave += (gain + 0.01) / number**0.4 * np.sin(number * phase)
    return wave
