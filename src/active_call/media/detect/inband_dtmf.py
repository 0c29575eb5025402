"""In-band DTMF detection, for callers whose network does not send telephone events (RFC 4733).

8 kHz frames with their slots go in. Digits come out, each once, as soon as it is certain. All streams are processed at once, with state in
arrays by slot. This module knows no calls and no clock. ITU-T Q.23 (frequencies), Q.24 (what must be recognised and what must not).

Theory. Every 10 ms a window of 20 ms is correlated with complex sines at the eight frequencies, each also slightly detuned up and down, so
that a tone that is off by 1.5 % loses nothing: one matrix product for all streams. A window contains a digit if the strongest row and the
strongest column frequency are loud enough, close enough in level, clearly above their neighbours, and together nearly all of the energy.
Speech cannot meet the last condition for long. Two such windows in a row whose phases advance as those of steady tones are a digit. Two
windows without it end it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.media.sounds.tones import DTMF_COLUMNS_HZ, DTMF_KEYS, DTMF_ROWS_HZ, OVERLOAD_DBM0

__all__ = ["Digit", "InbandDigits"]

RATE_HZ: Final = 8000
FRAME: Final = 160
HOP: Final = 80
WINDOW: Final = 160
_DETUNINGS: Final = (-0.012, 0.0, 0.012)
"""Relative to the frequency. A tone between these detunings loses 0.6 dB at most."""
_LOWEST_DBM0: Final = -37.0
"""Minimum level of each of the two tones. Networks deliver -25 dBm0 and more (Q.24)."""
_STRONGER_ROW_DB: Final = 11.0
_STRONGER_COLUMN_DB: Final = 6.0
"""Q.24 requires 8 and 4 dB. The rest allows for windowing and noise."""
_NEIGHBOUR_DB: Final = 6.0
_SHARE: Final = 0.82
"""Minimum share of the energy in the two tones: 0.9 at 15 dB SNR with both tones off by 1.5 %. A chord with harmonics has less."""
_HELD_SHARE: Final = 0.45
"""Minimum share for the continuation of a digit, so that noise does not split it in two."""
_MARGIN: Final = 0.99
"""Of the shares above, where windows are preselected: sums of floats depend on their order."""
_STEADY_HZ: Final = 0.03
"""Maximum deviation from the frequency, measured by the phase."""
_BEGIN: Final = 2
_END: Final = 2
_NONE: Final = -1

Slots = NDArray[np.intp]


class Digit(Struct, frozen=True):
    """`digit` was pressed in `slot`. Its tone began about `age_ms` before the end of the frame in which it was recognised."""

    slot: int
    digit: str
    age_ms: int


class InbandDigits:
    """Detection for `n_slots` streams. Call `reset` before a slot's first frame. Omit slots from `push` that receive telephone events."""

    def __init__(self, n_slots: int) -> None:
        self._bank = _bank()
        self._waves = np.ascontiguousarray(np.concatenate((self._bank[:, 0::2], self._bank[:, 1::2]), axis=1).T)
        """The same, (48, 160): first all real parts, then all imaginary ones."""
        self._history = np.zeros((n_slots, WINDOW - HOP), np.float32)
        self._phase = np.zeros((n_slots, 2), np.complex64)
        """The phases of row and column of the digit in the last window."""
        self._candidate = np.full(n_slots, _NONE, np.int64)
        self._n_hits = np.zeros(n_slots, np.int64)
        self._current = np.full(n_slots, _NONE, np.int64)
        """The digit that was reported and has not ended."""
        self._n_misses = np.zeros(n_slots, np.int64)

    def reset(self, slot: int) -> None:
        """Start a stream in `slot`."""
        self._history[slot] = 0
        self._candidate[slot] = self._current[slot] = _NONE
        self._n_hits[slot] = self._n_misses[slot] = 0

    def push(self, frames: NDArray[np.int16], slots: Slots) -> list[Digit]:
        """Take one frame for each of `slots` (k,), which must be distinct: `frames` (k, 160) int16. Pass silence for a missing frame."""
        samples = np.empty((len(frames), WINDOW - HOP + FRAME), np.float32)
        samples[:, : WINDOW - HOP] = self._history[slots]
        samples[:, WINDOW - HOP :] = frames
        self._history[slots] = samples[:, FRAME:]
        windows = np.concatenate((samples[:, :WINDOW], samples[:, HOP:]))
        energy = np.einsum("ij,ij->i", windows, windows)
        is_followed = (self._current[slots] != _NONE) | (self._candidate[slots] != _NONE)
        is_possible = self._is_possible(windows, energy, is_followed)
        if not (is_possible.any() or is_followed.any()):
            return []
        digits: list[Digit] = []
        for hop, first in enumerate(range(0, len(windows), len(slots))):
            found = np.full((2, len(slots)), _NONE, np.int64)
            places = np.flatnonzero(is_possible[first : first + len(slots)])
            if len(places):
                found[:, places] = self._judge(windows[first + places], energy[first + places], slots[places])
            digits += self._advance(found[0], found[1], slots, FRAME - HOP - hop * HOP)
        return digits

    def _is_possible(self, windows: NDArray[np.float32], energy: NDArray[np.float32], is_followed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each window may contain a digit, or in a slot that has one (`is_followed`) its continuation: it is loud enough, and
        two tones have enough of its energy. This is rare, so all else is computed for these windows only.
        """
        is_audible = energy > _LOWEST_ENERGY
        if not is_audible.any():
            return is_audible
        tones = self._waves @ windows.T
        np.square(tones, out=tones)
        n_waves = len(tones) // 2
        power = np.add(tones[:n_waves], tones[n_waves:]).reshape(len(_DETUNINGS), 2, 4, len(windows))
        strongest = power.max(axis=0).max(axis=1).sum(axis=0)
        share = np.where(is_followed, _HELD_SHARE, _SHARE).astype(np.float32) * np.float32(_MARGIN * WINDOW / 2)
        return np.asarray(is_audible & (strongest > energy * np.concatenate((share, share))))

    def _judge(self, windows: NDArray[np.float32], energy: NDArray[np.float32], slots: Slots) -> NDArray[np.int64]:
        """The digit in each window and the digit that may continue in it, (2, k); `_NONE` for none."""
        rows_of = np.arange(len(windows))
        tones = (windows @ self._bank).view(np.complex64).reshape(len(windows), len(_DETUNINGS), 8)
        power = np.square(tones.real) + np.square(tones.imag)
        best = power.argmax(axis=1)
        strength = np.take_along_axis(power, best[:, None, :], axis=1)[:, 0, :]
        row, column = strength[:, :4].argmax(axis=1), strength[:, 4:].argmax(axis=1)
        low, high = strength[rows_of, row], strength[rows_of, 4 + column]
        fits = (low > _LOWEST_POWER) & (high > _LOWEST_POWER)
        fits &= (low < high * _RATIO_ROW) & (high < low * _RATIO_COLUMN)
        share = (low + high) / (energy * (WINDOW / 2))
        held = np.where(share > _HELD_SHARE, row * 4 + column, _NONE)
        fits &= share > _SHARE
        fits &= (strength[:, :4] * _RATIO_NEIGHBOUR > low[:, None]).sum(axis=1) == 1
        fits &= (strength[:, 4:] * _RATIO_NEIGHBOUR > high[:, None]).sum(axis=1) == 1
        digit = np.where(fits, row * 4 + column, _NONE)
        nominal = np.stack([tones[rows_of, 1, row], tones[rows_of, 1, 4 + column]], axis=1)
        unsteady = (digit == self._candidate[slots]) & ~_is_steady(self._phase[slots], nominal, row, column)
        self._phase[slots] = nominal
        digit[unsteady] = _NONE
        return np.stack([digit, held])

    def _advance(self, found: NDArray[np.int64], held: NDArray[np.int64], slots: Slots, age: int) -> list[Digit]:
        """Advance the state of every slot by one window."""
        same = (found == self._candidate[slots]) & (found != _NONE)
        hits = np.where(same, self._n_hits[slots] + 1, (found != _NONE).astype(np.int64))
        self._n_hits[slots], self._candidate[slots] = hits, found
        current = self._current[slots]
        misses = np.where((found == current) | (held == current), 0, self._n_misses[slots] + 1)
        self._n_misses[slots] = misses
        current = np.where(misses >= _END, _NONE, current)
        begins = (hits >= _BEGIN) & (current == _NONE)
        self._current[slots] = np.where(begins, found, current)
        self._n_misses[slots[begins]] = 0
        age_ms = ((_BEGIN - 1) * HOP + WINDOW + age) * 1000 // RATE_HZ
        return [Digit(int(slots[index]), _KEYS[found[index]], age_ms) for index in np.flatnonzero(begins)]


_KEYS: Final = "".join(DTMF_KEYS)
_FREQUENCIES: Final = np.array(DTMF_ROWS_HZ + DTMF_COLUMNS_HZ)
_LOWEST_AMPLITUDE: Final = 32768 * 10 ** ((_LOWEST_DBM0 - OVERLOAD_DBM0) / 20)
_LOWEST_POWER: Final = (_LOWEST_AMPLITUDE * WINDOW / 2) ** 2
_LOWEST_ENERGY: Final = _LOWEST_AMPLITUDE**2 * WINDOW
"""Energy of two tones at the minimum level."""
_RATIO_ROW: Final = 10 ** (_STRONGER_ROW_DB / 10)
_RATIO_COLUMN: Final = 10 ** (_STRONGER_COLUMN_DB / 10)
_RATIO_NEIGHBOUR: Final = 10 ** (_NEIGHBOUR_DB / 10)
_ADVANCE: Final = np.exp(2j * np.pi * _FREQUENCIES * HOP / RATE_HZ).astype(np.complex64)
_STEADY_RAD: Final = 2 * np.pi * _FREQUENCIES * _STEADY_HZ * HOP / RATE_HZ


def _bank() -> NDArray[np.float32]:
    """(160, 48): the complex sines of all detunings and frequencies, real and imaginary parts side by side."""
    time_s = np.arange(WINDOW) / RATE_HZ
    frequencies = np.concatenate([_FREQUENCIES * (1 + detuning) for detuning in _DETUNINGS])
    return np.asarray(np.exp(-2j * np.pi * time_s[:, None] * frequencies).astype(np.complex64).view(np.float32))


def _is_steady(
    before: NDArray[np.complex64], now: NDArray[np.complex64], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether the phases of both tones have advanced as their frequencies require."""
    tone = np.stack([row, 4 + column], axis=1)
    turned = np.abs(np.angle(now * np.conj(before * _ADVANCE[tone])))
    return np.asarray((turned < _STEADY_RAD[tone]).all(axis=1))
