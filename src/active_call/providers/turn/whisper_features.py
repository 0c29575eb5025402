"""The input of Smart Turn v3: Whisper's log-mel spectrogram of the last 8 s, in NumPy, for many speakers at once.

In: sound at 16 kHz, s16le. Out: `(speakers, 80, 800)` float32. Sources: Whisper's feature extraction as in Hugging Face's transformers
(n_fft 400, hop 160, 80 mel bands by Slaney's scale and norm, 0 to 8000 Hz), after normalising the padded sound to zero mean and unit
variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE_HZ: Final = 16_000
N_SAMPLES: Final = 8 * RATE_HZ
N_FRAMES: Final = 800
N_MELS: Final = 80
_N_FFT: Final = 400
_HOP: Final = 160
_FLOOR: Final = 1e-10
_VARIANCE_FLOOR: Final = 1e-7
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
"""Slaney's scale is linear below and logarithmic above."""
_LOG_STEP: Final = 27.0 / np.log(6.4)

Floats = NDArray[np.float64]


def features_of(sounds: Sequence[bytes]) -> NDArray[np.float32]:
    """The features of each sound (s16le mono, 16 kHz): its last 8 s, or all of it after zeros."""
    found = np.empty((len(sounds), N_MELS, N_FRAMES), np.float32)
    for row, pcm in enumerate(sounds):
        found[row] = _log_mel(_last_seconds(pcm))
    return found


def _last_seconds(pcm: bytes) -> NDArray[np.float32]:
    """The last 8 s in [-1, 1), zeros before a shorter sound, with zero mean and unit variance."""
    samples = np.frombuffer(pcm[-2 * N_SAMPLES :], "<i2").astype(np.float32) / np.float32(32768)
    padded = np.zeros(N_SAMPLES, np.float32)
    padded[N_SAMPLES - len(samples) :] = samples
    normal: NDArray[np.float32] = (padded - padded.mean()) / np.sqrt(padded.var() + np.float32(_VARIANCE_FLOOR))
    return normal


def _log_mel(sound: NDArray[np.float32]) -> Floats:
    padded = np.pad(sound.astype(np.float64), _N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP][:N_FRAMES]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    log_mel: Floats = np.log10(np.maximum(_FLOOR, _FILTERS @ power.T))
    scaled: Floats = (np.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0
    return scaled


def _to_mel(hz: Floats) -> Floats:
    return np.where(hz < _BREAK_HZ, 3.0 * hz / 200.0, _BREAK_MEL + np.log(np.maximum(hz, 1.0) / _BREAK_HZ) * _LOG_STEP)


def _to_hz(mel: Floats) -> Floats:
    return np.where(mel < _BREAK_MEL, 200.0 * mel / 3.0, _BREAK_HZ * np.exp((mel - _BREAK_MEL) / _LOG_STEP))


def _mel_filters() -> Floats:
    """Triangles of equal area between neighbouring points of the mel scale: (80, 201)."""
    ends = _to_mel(np.array([0.0, RATE_HZ / 2]))
    points = _to_hz(np.linspace(ends[0], ends[1], N_MELS + 2))
    bins = np.linspace(0, RATE_HZ / 2, _N_FFT // 2 + 1)
    rising = (bins - points[:-2, None]) / np.diff(points)[:-1, None]
    falling = (points[2:, None] - bins) / np.diff(points)[1:, None]
    filters: Floats = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (points[2:] - points[:-2]))[:, None]
    return filters


_WINDOW: Final = np.hanning(_N_FFT + 1)[:-1]
"""Periodic Hann."""
_FILTERS: Final = _mel_filters()
