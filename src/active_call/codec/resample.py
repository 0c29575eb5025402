"""Resampling between 8 and 16 kHz for all streams at once, and between any rates for one stream of synthesised sound.

Frames with their slots go in, frames come out. The batched filters keep each slot's history, so that frames are continuous.

Upsampler and downsampler share one half-band filter: linear phase, 64 taps of which the even phase is a pure delay, so half of the work is
a copy and the other half a few matrix products. Pass band to 3.4 kHz within 0.01 dB, -6 dB at 4 kHz, -60 dB from 4.6 kHz on, -80 dB from
4.65 kHz on.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from active_call.base.pcm import BYTES_PER_SAMPLE

_TAPS: Final = 32
"""Taps of the odd phase: 4 ms at 8 kHz, so the filter delay is 2 ms."""
_KAISER_BETA: Final = 8.0
"""80 dB of attenuation."""
DELAY_MS: Final = 2.0
"""Delay of either filter."""
_FULL_SCALE: Final = np.float32(32768)
_LARGEST: Final = np.float32(32767 / 32768)


def _odd_phase() -> NDArray[np.float64]:
    """The coefficients half a sample off the grid: a windowed sinc with a gain of 1 at 0 Hz."""
    position = np.arange(_TAPS) - (_TAPS - 1) / 2
    taps = np.sinc(position) * np.i0(_KAISER_BETA * np.sqrt(1 - (2 * position / _TAPS) ** 2)) / np.i0(_KAISER_BETA)
    return np.asarray(taps / taps.sum())


_BLOCK: Final = 16
"""Outputs per matrix product. The matrix is banded, and a small one has fewer zeros: a third of the time of one for the whole frame."""


def _banded(taps: NDArray[np.float64]) -> NDArray[np.float32]:
    """The matrix (_BLOCK + taps - 1, _BLOCK) whose product with a row of samples is their convolution."""
    matrix = np.zeros((_BLOCK + len(taps) - 1, _BLOCK), np.float32)
    for column in range(_BLOCK):
        matrix[column : column + len(taps), column] = taps[::-1]
    return matrix


def _convolved(samples: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of 160 for `samples`, rows of 160 + taps - 1."""
    output = np.empty((len(samples), 160), np.float32)
    for start in range(0, 160, _BLOCK):
        np.matmul(samples[:, start : start + len(matrix)], matrix, out=output[:, start : start + _BLOCK])
    return output


class Upsampler8to16:
    """20 ms frames of 8 kHz to frames of 16 kHz for `n_slots` streams."""

    def __init__(self, n_slots: int) -> None:
        self._history = np.zeros((n_slots, _TAPS), np.float32)
        self._matrix = _banded(_odd_phase())

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._history[slot] = 0

    def process(self, frames: NDArray[np.int16] | NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return (k, 320) float32 in [-1, 1) for `frames` (k, 160): int16, or float32 in [-1, 1). `slots` (k,) must be distinct."""
        samples = self.join(frames if frames.dtype == np.int16 else frames * _FULL_SCALE, slots)
        output = np.empty((len(frames), 160, 2), np.float32)
        output[:, :, 0] = samples[:, _TAPS // 2 : _TAPS // 2 + 160]
        output[:, :, 1] = _convolved(samples[:, 1:], self._matrix)
        output *= 1 / _FULL_SCALE
        result = output.reshape(len(frames), 320)
        return np.clip(result, -1, _LARGEST, out=result)

    def process_pcm(self, frames: NDArray[np.int16], slots: NDArray[np.intp]) -> NDArray[np.int16]:
        """Like `process`, but returns int16."""
        return self.convert_pcm(self.join(frames, slots))

    def join(self, frames: NDArray[np.int16] | NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """Take `frames` in units of one 16-bit step. Returns each with the history before it, for `convert_pcm`, if that is needed."""
        samples = np.empty((len(frames), _TAPS + 160), np.float32)
        samples[:, :_TAPS] = self._history[slots]
        samples[:, _TAPS:] = frames
        self._history[slots] = samples[:, 160:]
        return samples

    def convert_pcm(self, samples: NDArray[np.float32]) -> NDArray[np.int16]:
        """The result of `process_pcm` for frames that were joined."""
        odd = _convolved(samples[:, 1:], self._matrix)
        output = np.empty((len(samples), 160, 2), np.int16)
        output[:, :, 0] = samples[:, _TAPS // 2 : _TAPS // 2 + 160]
        output[:, :, 1] = np.clip(odd, -32768, 32767, out=odd)
        return output.reshape(len(samples), 320)


class Downsampler16to8:
    """20 ms frames of 16 kHz to frames of 8 kHz for `n_slots` streams."""

    def __init__(self, n_slots: int) -> None:
        self._history = np.zeros((n_slots, 2 * _TAPS), np.float32)
        self._matrix = _banded(_odd_phase() / 2)

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._history[slot] = 0

    def process(self, frames: NDArray[np.int16] | NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return (k, 160) float32 in [-1, 1) for `frames` (k, 320): int16, or float32 in [-1, 1). `slots` (k,) must be distinct."""
        samples = np.empty((len(frames), 320 + 2 * _TAPS), np.float32)
        samples[:, : 2 * _TAPS] = self._history[slots]
        if frames.dtype == np.int16:
            np.multiply(frames, 1 / _FULL_SCALE, out=samples[:, 2 * _TAPS :], casting="unsafe")
        else:
            samples[:, 2 * _TAPS :] = frames
        self._history[slots] = samples[:, 320:]
        odd = np.ascontiguousarray(samples[:, 1::2])
        result = _convolved(odd[:, :-1], self._matrix)
        result += samples[:, _TAPS : _TAPS + 320 : 2] * np.float32(0.5)
        return np.clip(result, -1, _LARGEST, out=result)


class StreamResampler:
    """Resamples one stream of s16le mono sound between any rates, in pieces of any size, with libsoxr.

    The filter runs on floats: on 16-bit samples libsoxr adds dither, and silence would not stay silent.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._is_same = source_rate == target_rate
        self._rates = (source_rate, target_rate)
        self._rest = b""
        self._stream = None if self._is_same else self._open()

    def _open(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(*self._rates, 1, dtype="float32", quality="HQ")

    def push(self, pcm: bytes) -> bytes:
        """Return what is ready. Half a sample at the end waits for its other half."""
        if self._rest:
            pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % BYTES_PER_SAMPLE
        self._rest = pcm[whole:]
        if self._stream is None:
            return pcm[:whole]
        return _to_pcm(self._stream.resample_chunk(np.frombuffer(pcm, np.int16, whole // BYTES_PER_SAMPLE).astype(np.float32)))

    def flush(self) -> bytes:
        """Return the end of the sound. The resampler can then be used for another one."""
        self._rest = b""
        if self._stream is None:
            return b""
        tail = _to_pcm(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._stream = self._open()
        return tail


def _to_pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples in units of one 16-bit step as s16le."""
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()
