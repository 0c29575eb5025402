"""Noise suppression for the callers' sound, all streams at once.

20 ms frames with their slots go in, frames come out with a delay of 20 ms. State is in arrays by slot. This module knows no calls and no
clock.

Theory. Each bin of the spectrum of the last 40 ms is multiplied by a gain. The noise power of a bin is estimated from frames in which
speech is improbable there (unbiased MMSE estimate with a fixed prior: Gerkmann and Hendriks, 2012). The a-priori SNR follows the
decision-directed rule (Ephraim and Malah, 1984). The gain is Wiener's, with a floor, because speech on digital silence sounds worse than
speech on a little noise. Windows overlap by half and add up to one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS, samples_in

DELAY_MS: Final = FRAME_MS
FLOOR_DB: Final = -16.0
_WINDOW_FRAMES: Final = 2
_LEARN_FRAMES: Final = 4
"""The first frames are taken as noise."""
_PRIOR: Final = np.float32(10**1.5)
"""A-priori SNR while speech is present: 15 dB."""
_NOISE_KEEPS: Final = np.float32(0.9)
_PRESENCE_KEEPS: Final = np.float32(0.9)
_MOST_PRESENT: Final = np.float32(0.99)
"""A bin that always seems to contain speech contains a new noise."""
_DECISION_KEEPS: Final = np.float32(0.9)
_LEAST_SNR: Final = np.float32(10**-2)
_LARGEST_SNR: Final = np.float32(1000)
_TINY: Final = np.float32(1e-9)
"""Relative to full scale; below any quantisation."""

Frames = NDArray[np.float32]
Slots = NDArray[np.intp]


class NoiseSuppressor:
    """For `n_slots` streams at `rate_hz`. Call `reset` before the first frame of a slot."""

    def __init__(self, n_slots: int, rate_hz: int = 8000) -> None:
        self._n = samples_in(FRAME_MS, rate_hz)
        n_window = _WINDOW_FRAMES * self._n
        n_bins = n_window // 2 + 1
        self._window = np.sqrt(np.hanning(n_window + 1)[:-1]).astype(np.float32)
        self._last = np.zeros((n_slots, self._n), np.float32)
        self._overlap = np.zeros((n_slots, self._n), np.float32)
        self._noise = np.zeros((n_slots, n_bins), np.float32)
        self._presence = np.zeros((n_slots, n_bins), np.float32)
        self._speech = np.zeros((n_slots, n_bins), np.float32)
        """Output power of the last frame."""
        self._n_frames = np.zeros(n_slots, np.int64)

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        for array in (self._last, self._overlap, self._noise, self._presence, self._speech, self._n_frames):
            array[slot] = 0

    def process(self, frames: Frames, slots: Slots) -> Frames:
        """Return (k, n) float32 in [-1, 1] for `frames` (k, n) of `slots` (k,), which must be distinct. Delay: 20 ms."""
        samples = np.concatenate([self._last[slots], frames], axis=1)
        self._last[slots] = frames
        spectrum = np.fft.rfft(samples * self._window, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag) + _TINY
        spectrum *= self._gains(power, slots)
        pieces = np.fft.irfft(spectrum, _WINDOW_FRAMES * self._n, axis=1) * self._window
        result = self._overlap[slots] + pieces[:, : self._n]
        self._overlap[slots] = pieces[:, self._n :]
        return np.asarray(result, np.float32)

    def _gains(self, power: Frames, slots: Slots) -> Frames:
        noise = self._followed(power, slots)
        above = np.minimum(power / noise, _LARGEST_SNR)
        snr = _DECISION_KEEPS * self._speech[slots] / noise + (1 - _DECISION_KEEPS) * np.maximum(above - 1, 0)
        snr = np.maximum(snr, _LEAST_SNR)
        gains = snr / (1 + snr)
        self._speech[slots] = np.square(gains) * power
        return np.asarray(np.maximum(gains, np.float32(10 ** (FLOOR_DB / 20))), np.float32)

    def _followed(self, power: Frames, slots: Slots) -> Frames:
        """The noise estimate of each bin, updated by this frame."""
        noise, presence = self._noise[slots], self._presence[slots]
        n_frames = self._n_frames[slots]
        self._n_frames[slots] = n_frames + 1
        learns = n_frames < _LEARN_FRAMES
        if learns.any():
            share = (1 / (n_frames[learns] + 1)).astype(np.float32)[:, None]
            noise[learns] += share * (power[learns] - noise[learns])
        above = np.minimum(power / noise, _LARGEST_SNR)
        probability = 1 / (1 + (1 + _PRIOR) * np.exp(above * (-_PRIOR / (1 + _PRIOR))))
        presence = _PRESENCE_KEEPS * presence + (1 - _PRESENCE_KEEPS) * probability
        np.minimum(probability, _MOST_PRESENT, out=probability, where=presence > _MOST_PRESENT)
        heard = probability * noise + (1 - probability) * power
        noise = _NOISE_KEEPS * noise + (1 - _NOISE_KEEPS) * heard
        self._noise[slots], self._presence[slots] = noise, presence
        return np.asarray(noise, np.float32)
