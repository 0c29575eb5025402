"""Packet loss concealment: the last pitch period is repeated and faded out, joined at both ends (similar to G.711 Appendix I).

Frames go in with missing ones marked; the same frames come out with the missing ones filled. This module knows no packets. It adds no
delay: samples that were played do not change.

Theory. When a frame is missing, the pitch period T is the lag at which the last 20 ms are most similar to earlier sound. One period becomes
a cycle, whose last quarter is blended into the sound before it, so that its end leads into its beginning. The cycle is repeated. The first
quarter period corrects the difference between the last sample played and the one a period before, so that the step at the join is one of
the signal itself. The cycle has full level for 10 ms and has faded out after 60 ms. When sound returns, the cycle (or silence) continues
under it and is cross-faded for 4 ms plus 4 ms per 10 ms of loss, at most 10 ms.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SHORTEST_PERIOD_MS: Final = 5
_LONGEST_PERIOD_MS: Final = 15
"""200 to 66 Hz, as in G.711 Appendix I §I.2.2. For a higher voice a multiple of its period is found."""
_COMPARED_MS: Final = 20
_FULL_MS: Final = 10
_GONE_MS: Final = 60
_SHORTEST_FADE_MS: Final = 4
_LONGEST_FADE_MS: Final = 10
_FADE_GROWTH_MS: Final = 4
_NOT_BEGUN: Final = -1
_HISTORY_MS: Final = 40
"""The longest period plus the sound compared at that lag, and at least two frames."""

Samples = NDArray[np.int16]
Floats = NDArray[np.float32]
Slots = NDArray[np.intp]


def find_periods(history: Floats, rate_hz: int) -> Slots:
    """Return the pitch periods (k,) in samples of `history` (k, 40 ms), by normalised cross-correlation with its last 20 ms."""
    n_compared, longest = _COMPARED_MS * rate_hz // 1000, _LONGEST_PERIOD_MS * rate_hz // 1000
    shortest = _SHORTEST_PERIOD_MS * rate_hz // 1000
    reach = history[:, -(n_compared + longest) :]
    n_fft = 1 << (n_compared + longest).bit_length()
    spectrum = np.fft.rfft(reach, n_fft) * np.conj(np.fft.rfft(reach[:, longest:], n_fft))
    # Position p of the correlation compares the last 20 ms with the sound p samples into `reach`: a lag of `longest - p`.
    products = np.fft.irfft(spectrum, n_fft)[:, : longest - shortest + 1]
    sums = np.zeros((len(reach), reach.shape[1] + 1))
    np.cumsum(reach.astype(np.float64) ** 2, axis=1, out=sums[:, 1:])
    energies = (sums[:, n_compared:] - sums[:, : sums.shape[1] - n_compared])[:, : longest - shortest + 1]
    return np.asarray(longest - np.argmax(products / np.sqrt(energies + 1.0), axis=1), np.intp)


class Concealer:
    """The streams of `n_slots` slots, in frames of up to 40 ms at `rate_hz`. `begin` claims a slot."""

    def __init__(self, n_slots: int, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._ms = rate_hz // 1000
        self._n_history = _HISTORY_MS * self._ms
        self._longest = _LONGEST_PERIOD_MS * self._ms
        self._history: Samples = np.zeros((n_slots, self._n_history), np.int16)
        self._missing: Slots = np.full(n_slots, _NOT_BEGUN, np.intp)
        """Number of consecutive missing samples; `_NOT_BEGUN` before the first frame."""
        self._period: Slots = np.ones(n_slots, np.intp)
        self._cycle: Floats = np.zeros((n_slots, self._longest), np.float32)
        self._step: Floats = np.zeros(n_slots, np.float32)
        self._is_joining = False

    def begin(self, slot: int) -> None:
        """Start a new stream in `slot`: it has no history, and its first frame is not faded in."""
        self._history[slot] = 0
        self._missing[slot] = _NOT_BEGUN

    def prime(self, slot: int, sound: Samples) -> None:
        """Set the samples that were played in `slot` without `process`."""
        self.begin(slot)
        n = min(len(sound), self._n_history)
        if n:
            self._history[slot, -n:] = sound[-n:]
            self._missing[slot] = 0

    def process(self, frames: Samples, slots: Slots, lost: NDArray[np.bool_]) -> None:
        """Fill the rows of `frames` (k, n) that are `lost` (k,), and join the rows that follow these. `slots` (k,) must be distinct."""
        joining = self._is_joining
        self._is_joining = False
        if lost.any():
            self._fill(frames, slots, lost)
        if joining:
            self._join(frames, slots, ~lost)
        elif not lost.all():
            self._missing[slots[~lost]] = 0
        self._remember(frames, slots)

    def _remember(self, frames: Samples, slots: Slots) -> None:
        n_kept = self._n_history - frames.shape[1]
        if n_kept:
            self._history[slots, :n_kept] = self._history[slots, -n_kept:]
        self._history[slots, n_kept:] = frames

    def _fill(self, frames: Samples, slots: Slots, lost: NDArray[np.bool_]) -> None:
        self._is_joining = True
        frames[lost] = 0
        missing = self._missing[slots]
        sounding = lost & (missing >= 0) & (missing < _GONE_MS * self._ms)
        begun = slots[lost & (missing >= 0)]
        if sounding.any():
            rows = slots[sounding]
            starting = rows[self._missing[rows] == 0]
            if len(starting):
                self._prepare(starting)
            frames[sounding] = self._continued(rows, frames.shape[1]).astype(np.int16)
        self._missing[begun] += frames.shape[1]

    def _join(self, frames: Samples, slots: Slots, here: NDArray[np.bool_]) -> None:
        """Cross-fade the received frames after a loss with the concealment."""
        coming = slots[here]
        missing = self._missing[coming]
        rows = np.flatnonzero(here)[missing > 0]
        if len(rows):
            missing = missing[missing > 0] // self._ms
            faded_ms = np.minimum(_SHORTEST_FADE_MS + _FADE_GROWTH_MS * (missing // 10), _LONGEST_FADE_MS)
            faded_ms[missing >= _GONE_MS] = _SHORTEST_FADE_MS
            n_faded = faded_ms[:, None] * self._ms
            n = min(int(n_faded.max()), frames.shape[1])
            rise = np.minimum((np.arange(n, dtype=np.float32) + 1) / (np.minimum(n_faded, n) + 1), 1)
            before = self._continued(slots[rows], n)
            frames[rows, :n] = before + (frames[rows, :n] - before) * rise
        self._missing[coming] = 0

    def _prepare(self, slots: Slots) -> None:
        """Find the period of each stream and build its cycle."""
        history = self._history[slots].astype(np.float32)
        periods = find_periods(history, self._rate_hz)
        at = np.arange(self._longest)  # what is after a row's period is not used
        begin = self._n_history - periods[:, None]
        last = np.take_along_axis(history, np.minimum(begin + at, self._n_history - 1), 1)
        before = np.take_along_axis(history, np.minimum(begin - periods[:, None] + at, self._n_history - 1), 1)
        quarter = periods // 4
        weight = np.clip((at + 1 - (periods - quarter)[:, None]) / quarter[:, None], 0, 1).astype(np.float32)
        self._cycle[slots] = last + (before - last) * weight
        self._period[slots] = periods
        self._step[slots] = history[:, -1] - history[np.arange(len(slots)), begin[:, 0] - 1]

    def _continued(self, slots: Slots, n: int) -> Floats:
        """The next `n` samples of the concealment, as (k, n)."""
        periods, since = self._period[slots][:, None], self._missing[slots][:, None] + np.arange(n)
        sound = np.take_along_axis(self._cycle[slots], since % periods, 1)
        sound += self._step[slots][:, None] * np.clip(1 - since / (periods // 4), 0, 1)
        faded = np.clip((_GONE_MS * self._ms - since) / ((_GONE_MS - _FULL_MS) * self._ms), 0, 1)
        return np.asarray(np.clip(sound * faded, -32768, 32767), np.float32)
