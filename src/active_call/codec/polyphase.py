"""Resampling between rates that divide each other (8, 16, 24, 48 kHz) for all streams at once, as one matrix product.

Frames with their slots go in, frames come out. Each slot's history is kept, so that frames are continuous. For 8↔16 kHz `resample` has
filters with half the work.

One windowed sinc is used for all pairs: 32 taps at the lower rate, -6 dB at half of that rate; pass band to 0.425 of the lower rate within
0.01 dB, images and aliases below -60 dB from 0.575 on, below -78 dB from 0.582 on. A frame is split into blocks of at most 5 ms, each with
the history before it, and all blocks of all streams are multiplied by the same banded matrix: longer blocks would multiply more zeros,
shorter ones copy more history.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS

_TAPS: Final = 32
"""At the lower rate."""
_KAISER_BETA: Final = 8.0
"""80 dB of attenuation."""
_BLOCK: Final = 40
"""Samples at the lower rate: 5 ms at 8 kHz."""
_FULL_SCALE: Final = np.float32(32768)
_LARGEST: Final = np.float32(32767 / 32768)

Floats = NDArray[np.float32]


def _prototype(factor: int) -> NDArray[np.float64]:
    """The low-pass filter at the higher rate, with a gain of 1 at 0 Hz in each of its phases."""
    position = np.arange(1, _TAPS * factor) / factor - _TAPS / 2
    window = np.i0(_KAISER_BETA * np.sqrt(1 - (2 * position / _TAPS) ** 2)) / np.i0(_KAISER_BETA)
    taps = np.concatenate(([0.0], np.sinc(position) * window)).reshape(_TAPS, factor)
    return np.asarray((taps / taps.sum(axis=0)).reshape(-1))


class Resampler:
    """Resamples 20 ms frames of `n_slots` streams. Raises ValueError if neither rate divides the other."""

    def __init__(self, n_slots: int, source_hz: int, target_hz: int) -> None:
        low, high = sorted((source_hz, target_hz))
        if low == high or high % low or (low * FRAME_MS // 1000) % _BLOCK:
            raise ValueError(f"no filter from {source_hz} to {target_hz} Hz")
        factor = high // low
        self.rates = (source_hz, target_hz)
        self.delay_ms = _TAPS * 500 / low
        """Delay of the filter."""
        self._n_in, self._n_out = source_hz * FRAME_MS // 1000, target_hz * FRAME_MS // 1000
        up = target_hz > source_hz
        self._block, self._n_history = (_BLOCK, _TAPS) if up else (_BLOCK * factor, _TAPS * factor)
        self._matrix = _interpolation(factor) if up else _decimation(factor)
        self._history: Floats = np.zeros((n_slots, self._n_history), np.float32)

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._history[slot] = 0

    def process(self, frames: NDArray[np.int16] | Floats, slots: NDArray[np.intp]) -> Floats:
        """Return (k, n_out) float32 in [-1, 1) for `frames` (k, n_in): int16, or float32 in [-1, 1). `slots` (k,) must be distinct."""
        k, n_in, n_history = len(frames), self._n_in, self._n_history
        samples = np.empty((k, n_history + n_in), np.float32)
        samples[:, :n_history] = self._history[slots]
        if frames.dtype == np.int16:
            np.multiply(frames, 1 / _FULL_SCALE, out=samples[:, n_history:], casting="unsafe")
        else:
            samples[:, n_history:] = frames
        self._history[slots] = samples[:, n_in:]
        windows = np.lib.stride_tricks.sliding_window_view(samples, n_history + self._block, axis=1)[:, :: self._block]
        result: Floats = np.ascontiguousarray(windows).reshape(-1, n_history + self._block) @ self._matrix
        result = result.reshape(k, self._n_out)
        return np.clip(result, -1, _LARGEST, out=result)


def _interpolation(factor: int) -> Floats:
    """(history + block, block * factor): every output is one phase of the filter over the samples around it."""
    taps = _prototype(factor).reshape(_TAPS, factor)[::-1]
    matrix = np.zeros((_TAPS + _BLOCK, _BLOCK * factor), np.float32)
    for sample in range(_BLOCK):
        for phase in range(factor):
            matrix[sample + 1 : sample + 1 + _TAPS, sample * factor + phase] = taps[:, phase]
    return matrix


def _decimation(factor: int) -> Floats:
    """(history + block, block): the whole filter over the samples up to each output."""
    taps = _prototype(factor)[::-1] / factor
    matrix = np.zeros(((_TAPS + _BLOCK) * factor, _BLOCK), np.float32)
    for sample in range(_BLOCK):
        begin = sample * factor + 1
        matrix[begin : begin + len(taps), sample] = taps
    return matrix


class OneStreamResampler:
    """The same filter for a single stream, with one convolution per phase. It costs at most half as much as a batch of one.

    Input may have any length for upsampling, and a multiple of `factor` samples for downsampling. Raises ValueError like `Resampler`.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        low, high = sorted((source_hz, target_hz))
        if low == high or high % low:
            raise ValueError(f"no filter from {source_hz} to {target_hz} Hz")
        self.factor = high // low
        self._is_up = target_hz > source_hz
        gain = 1 if self._is_up else 1 / self.factor
        taps = (_prototype(self.factor) * gain).reshape(_TAPS, self.factor).astype(np.float32)
        self._phases: list[Floats] = [np.ascontiguousarray(taps[:, phase]) for phase in range(self.factor)]
        self._history: Floats = np.zeros(_TAPS if self._is_up else _TAPS * self.factor, np.float32)

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return the samples at the target rate."""
        n_history = len(self._history)
        joined = np.empty(n_history + len(samples), np.float32)
        joined[:n_history] = self._history
        joined[n_history:] = samples
        self._history = joined[len(samples) :].copy()
        found = self._interpolated(joined) if self._is_up else self._decimated(joined)
        np.rint(found, out=found)
        return np.clip(found, -32_768, 32_767, out=found).astype(np.int16)

    def _interpolated(self, joined: Floats) -> Floats:
        result = np.empty((len(joined) - _TAPS, self.factor), np.float32)
        for phase, taps in enumerate(self._phases):
            result[:, phase] = _convolved(joined[1:], taps)
        return result.reshape(-1)

    def _decimated(self, joined: Floats) -> Floats:
        factor = self.factor
        n_rows = len(joined) // factor - 1
        result = _convolved(joined[factor : factor * n_rows + 1 : factor], self._phases[0])
        for phase, taps in enumerate(self._phases[1:], 1):
            result += _convolved(joined[factor - phase : factor * n_rows - phase + 1 : factor], taps)
        return result


def _convolved(samples: Floats, taps: Floats) -> Floats:
    """The convolution at positions where all taps overlap samples."""
    return np.asarray(np.convolve(samples, taps, "valid"), np.float32)
