"""Classify a frame for tone detection: silence, one or two steady tones, or any other sound; for all streams at once.

8 kHz frames with their slots go in. Kinds, centre frequencies, widths and levels come out. The only state is the last frame of each slot
and the recent maximum of its energy.

Theory. The two highest peaks of the spectrum of the last 40 ms are searched. If they contain nearly all of the energy, the frame is tonal.
Its centre frequency is that of their energy. Its width tells one tone (about 15 Hz, from the window itself) from two or a modulated one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.media.sounds.tones import OVERLOAD_DBM0

RATE_HZ: Final = 8000
FRAME: Final = 160
OTHER, SILENCE, TONE = 0, 1, 2

_WINDOW: Final = 2 * FRAME
_FFT: Final = 512
_BIN_HZ: Final = RATE_HZ / _FFT
_LOWEST_HZ: Final = 250
_HIGHEST_HZ: Final = 3000
_REACH: Final = 4
"""Bins on each side of a peak that belong to it: the main lobe of the Hann window, 50 Hz."""
_SHARE: Final = 0.88
_WEAK: Final = 0.04
_SILENCE_DBM0: Final = -48.0
_TONE_DBM0: Final = -42.0
_PAUSE: Final = 10 ** (-16 / 10)
_LOUDEST_DECAY: Final = 10 ** (-0.02 / 10)
"""Per frame: 1 dB in a second."""

Slots = NDArray[np.intp]


class Spectrum(Struct, frozen=True):
    """Result for k frames: `kind` (k,), and for tonal ones centre frequency and width in Hz (else 0)."""

    kind: NDArray[np.int8]
    middle_hz: NDArray[np.float32]
    width_hz: NDArray[np.float32]


class ToneSpectrum:
    """For `n_slots` streams. Call `reset` before the first frame of a slot."""

    def __init__(self, n_slots: int) -> None:
        self._last = np.zeros((n_slots, FRAME), np.float32)
        self._loudest = np.zeros(n_slots, np.float32)
        """Energy of the loudest recent frame, with a slow decay. A pause is much softer than that, whatever the noise of the line."""
        self._window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
        self._first = int(_LOWEST_HZ / _BIN_HZ)
        self._stop = int(_HIGHEST_HZ / _BIN_HZ)
        self._hz = (np.arange(self._first, self._stop) * _BIN_HZ).astype(np.float32)

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._last[slot] = 0
        self._loudest[slot] = 0

    def analyse(self, frames: NDArray[np.int16], slots: Slots) -> Spectrum:
        """Take one frame for each of `slots` (k,), which must be distinct: `frames` (k, 160) int16."""
        samples = np.empty((len(frames), _WINDOW), np.float32)
        samples[:, :FRAME] = self._last[slots]
        samples[:, FRAME:] = frames
        self._last[slots] = samples[:, FRAME:]
        energy = np.einsum("ij,ij->i", samples, samples) / _WINDOW
        loudest = self._loudest[slots] = np.maximum(energy, self._loudest[slots] * _LOUDEST_DECAY)
        kind = np.where(energy < np.maximum(_SILENCE_ENERGY, loudest * _PAUSE), SILENCE, OTHER).astype(np.int8)
        middle, width = np.zeros((2, len(frames)), np.float32)
        loud = np.flatnonzero((energy > _TONE_ENERGY) & (kind != SILENCE))
        if len(loud):
            share, middle[loud], width[loud] = self._peaks(samples[loud] * self._window)
            is_tone = loud[share > _SHARE]
            kind[is_tone] = TONE
            other = np.setdiff1d(loud, is_tone, assume_unique=True)
            middle[other] = width[other] = 0
        return Spectrum(kind, middle, width)

    def _peaks(self, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """For each window: the energy share, the centre and the width of its two peaks."""
        spectrum = np.fft.rfft(windows, _FFT, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        total = power[:, 3:].sum(axis=1)  # without hum and DC offset
        band = power[:, self._first : self._stop]
        first = self._taken(band)
        second = self._taken(np.where(first > 0, 0, band))
        one, two = first.sum(axis=1), second.sum(axis=1)
        share = (one + two) / np.maximum(total, 1e-9)
        two[two < one * _WEAK] = 0  # noise, which would widen a single tone
        peaks = first + second * (two > 0)[:, None]
        held = np.maximum(one + two, 1e-9)
        middle = peaks @ self._hz / held
        width = np.sqrt(np.maximum((peaks * np.square(self._hz - middle[:, None])).sum(axis=1) / held, 0))
        return share, middle, width

    def _taken(self, band: NDArray[np.float32]) -> NDArray[np.float32]:
        """`band` with everything but its highest peak set to zero."""
        distance = np.abs(np.arange(band.shape[1]) - band.argmax(axis=1)[:, None])
        return np.where(distance <= _REACH, band, 0)


def _energy(level_dbm0: float) -> float:
    return float(32768**2 / 2 * 10 ** ((level_dbm0 - OVERLOAD_DBM0) / 10))


_SILENCE_ENERGY: Final = _energy(_SILENCE_DBM0)
_TONE_ENERGY: Final = _energy(_TONE_DBM0)
