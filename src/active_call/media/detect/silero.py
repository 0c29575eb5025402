"""The Silero voice detector as batched NumPy products: the probability of speech in a chunk, for many streams at once.

Chunks of 32 ms with their slots go in, probabilities come out. This module knows no thresholds and no calls. It keeps the recurrent state
of each slot. There are two networks, for 16 and 8 kHz, which differ only in the input size. The weights are those of silero-vad (MIT, see
NOTICE-silero-vad.txt), extracted from its ONNX file by tools/extract_silero_weights.py, which also documents their layout.

The network at 16 kHz (at 8 kHz: half of all sample and bin counts), for each chunk of 512 samples preceded by 64 samples of the previous
one: 256-point Hann spectra at 4 positions (the last extends 64 samples past the end, by reflection); four convolutions of width 3
(129-128-64-64-128, strides 1 2 2 1); an LSTM cell of 128; a weighted sum. A convolution over so few positions is computed as one product
with the positions side by side, without the padding.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

CHUNK_MS: Final = 32
_PLACES: Final = 4
_HIDDEN: Final = 128
_BLOCK: Final = 256
"""Maximum number of chunks evaluated together, so that the weights (1.2 MB) are loaded once for all of them."""
_SPECTRA_BLOCK: Final = 64
"""The intermediate spectra are larger than their weights: this many fit the cache."""

_HALF: Final = np.float32(0.5)
"""The logistic function of x is 1/2 + tanh(x / 2) / 2, which does not overflow."""

Floats = NDArray[np.float32]


def _load_weights(rate_hz: int) -> dict[str, Floats]:
    name = f"silero_weights_{rate_hz // 1000}k.npz"
    with resources.files("active_call.media.detect").joinpath(name).open("rb") as file, np.load(file) as archive:
        return {name: np.ascontiguousarray(archive[name], np.float32) for name in archive.files}


class SileroBatch:
    """The network for sound of `rate_hz` (8000 or 16000), and the state of `n_slots` streams."""

    def __init__(self, n_slots: int, rate_hz: int = 16_000) -> None:
        self.chunk = CHUNK_MS * rate_hz // 1000
        self.n_context = self.chunk // 8
        """Number of samples of the previous chunk at the start of the window."""
        self._hop = self.chunk // _PLACES
        self._n_bins = self._hop + 1
        weights = _load_weights(rate_hz)
        self._cosines, self._sines = _half_basis(self._hop)
        self._first, self._first_bias = weights["conv0"], weights["conv0_bias"]
        self._second, self._second_bias = weights["conv1"], weights["conv1_bias"]
        self._third, self._third_bias = weights["conv2"], weights["conv2_bias"]
        self._fourth, self._fourth_bias = weights["conv3"], weights["conv3_bias"]
        self._cell, self._cell_bias = weights["lstm"], weights["lstm_bias"]
        self._output, self._output_bias = weights["output"], weights["output_bias"]
        n_rows = min(n_slots, _BLOCK)
        self._scratch_spectra = np.empty((n_rows, _PLACES * self._n_bins), np.float32)
        self._scratch_first = np.empty((n_rows, 4 * 128), np.float32)
        self._scratch_inputs = np.empty((n_rows, 2 * _HIDDEN), np.float32)
        self._scratch_gates = np.empty((n_rows, 4 * _HIDDEN), np.float32)
        self.state = np.zeros((2, n_slots, _HIDDEN), np.float32)
        """Hidden state and cell state, (2, slots, 128)."""
        self.context = np.zeros((n_slots, self.n_context), np.float32)
        """The last samples of each slot's last chunk; only `infer` uses it."""

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self.state[:, slot] = 0
        self.context[slot] = 0

    def infer(self, chunks: Floats, slots: NDArray[np.intp]) -> Floats:
        """Return (k,) probabilities for `chunks` (k, `chunk`) in [-1, 1) of `slots` (k,), which must be distinct."""
        windows = np.concatenate((self.context[slots], chunks), axis=1, dtype=np.float32)
        self.context[slots] = chunks[:, -self.n_context :]
        return self.infer_windows(windows, slots)

    def infer_windows(self, windows: Floats, slots: NDArray[np.intp]) -> Floats:
        """Like `infer`, but each chunk is preceded by its context: `windows` (k, `n_context` + `chunk`)."""
        result = np.empty(len(windows), np.float32)
        for start in range(0, len(windows), _BLOCK):
            stop = start + _BLOCK
            result[start:stop] = self._infer_block(windows[start:stop], slots[start:stop])
        return result

    def _infer_block(self, windows: Floats, slots: NDArray[np.intp]) -> Floats:
        count = len(windows)
        spectra = self._scratch_spectra[:count]
        for start in range(0, count, _SPECTRA_BLOCK):
            stop = start + _SPECTRA_BLOCK
            self._compute_spectra(windows[start:stop], spectra[start:stop])
        inputs = self._scratch_inputs[:count]
        self._encode(spectra, inputs[:, :_HIDDEN])
        inputs[:, _HIDDEN:] = self.state[0].take(slots, axis=0)
        hidden = self._step(inputs, slots)
        np.maximum(hidden, 0, out=hidden)
        score = (hidden @ self._output + self._output_bias) * _HALF
        return np.asarray(np.tanh(score) * _HALF + _HALF, np.float32)

    def _compute_spectra(self, windows: Floats, out: Floats) -> None:
        """Fill `out` with the magnitudes (k, 4 * bins) at the four positions of each window.

        The Hann window is symmetric, so each mirrored pair of samples enters the cosine terms by its sum and the sine terms by its
        difference: half the work of the plain product.
        """
        (count, width), hop, n_reflected = windows.shape, self._hop, self.n_context
        samples = np.empty((count, width + n_reflected), np.float32)
        samples[:, :width] = windows
        samples[:, width:] = windows[:, -2 : -2 - n_reflected : -1]
        row, step = samples.strides
        places = as_strided(samples, (count, _PLACES, 2 * hop), (row, hop * step, step))
        ahead, mirrored = places[:, :, 1:hop], places[:, :, :hop:-1]
        even = np.empty((count, _PLACES, hop), np.float32)
        np.add(ahead, mirrored, out=even[:, :, :-1])
        even[:, :, -1] = places[:, :, hop]
        odd = np.subtract(ahead, mirrored)
        power = np.matmul(even.reshape(-1, hop), self._cosines, out=out.reshape(-1, self._n_bins))
        sines = odd.reshape(-1, hop - 1) @ self._sines
        np.square(power, out=power)
        np.square(sines, out=sines)
        power += sines
        np.sqrt(power, out=power)

    def _encode(self, spectra: Floats, out: Floats) -> None:
        """The four convolutions: (k, 4 * bins) to (k, 128)."""
        first, bins = self._scratch_first[: len(spectra)], self._n_bins
        np.matmul(spectra[:, : 2 * bins], self._first[bins:], out=first[:, :128])
        np.matmul(spectra[:, : 3 * bins], self._first, out=first[:, 128:256])
        np.matmul(spectra[:, bins:], self._first, out=first[:, 256:384])
        np.matmul(spectra[:, 2 * bins :], self._first[: 2 * bins], out=first[:, 384:])
        _add_and_rectify(first.reshape(-1, 128), self._first_bias)
        second = np.empty((len(spectra), 2 * 64), np.float32)
        np.matmul(first[:, :256], self._second[128:], out=second[:, :64])
        np.matmul(first[:, 128:], self._second, out=second[:, 64:])
        _add_and_rectify(second.reshape(-1, 64), self._second_bias)
        third = np.asarray(second @ self._third[64:], np.float32)
        _add_and_rectify(third, self._third_bias)
        np.matmul(third, self._fourth, out=out)
        _add_and_rectify(out, self._fourth_bias)

    def _step(self, inputs: Floats, slots: NDArray[np.intp]) -> Floats:
        """One step of the LSTM cell of each slot over `inputs` (k, 256): features, hidden state. Returns a copy of the new hidden state."""
        gates = np.matmul(inputs, self._cell, out=self._scratch_gates[: len(inputs)])
        gates += self._cell_bias
        np.tanh(gates, out=gates)
        doors = gates[:, : 3 * _HIDDEN]
        doors *= _HALF
        doors += _HALF
        admit, keep, show, proposal = (gates[:, i * _HIDDEN : (i + 1) * _HIDDEN] for i in range(4))
        cell = self.state[1].take(slots, axis=0)
        cell *= keep
        proposal *= admit
        cell += proposal
        self.state[1][slots] = cell
        np.tanh(cell, out=cell)
        cell *= show
        self.state[0][slots] = cell
        return np.asarray(cell, np.float32)


def _half_basis(hop: int) -> tuple[Floats, Floats]:
    """Cosines for the samples 1 to `hop`, sines for those before it, under the first half of a periodic Hann window of twice that length
    (its sample 0 is zero).
    """
    position = np.arange(1, hop + 1)
    angle = np.pi * np.outer(position, np.arange(hop + 1)) / hop
    window = (0.5 - 0.5 * np.cos(np.pi * position / hop))[:, None]
    return (np.cos(angle) * window).astype(np.float32), (np.sin(angle) * window)[:-1].astype(np.float32)


def _add_and_rectify(values: Floats, bias: Floats) -> None:
    values += bias
    np.maximum(values, 0, out=values)
