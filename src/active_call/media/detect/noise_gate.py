"""Select the chunks that the voice detector's network may skip because they are no louder than the noise floor of their line.

The energies of chunks go in with their slots, and the network's results for the evaluated ones. The selection of chunks to evaluate comes
out. All state is in arrays by slot.

Theory. On a quiet line the network returns the same result for every chunk between two phrases, which is nine tenths of the detector's
cost. The floor of a line is the energy of its softest recent chunk. It falls at once, and rises only by chunks that the network has
classified as clear non-speech. So speech cannot raise it, and while noise grows the network evaluates every chunk until the floor has
followed. A chunk is skipped if its slot has been calm for `CALM_CHUNKS` evaluated chunks, and this chunk and the `EVEN_CHUNKS` before it
are at most `MARGIN` above the floor. Speech at the level of the noise is above that margin. Lines with changing noise (talk, music) are
evaluated in every chunk: without its softer parts the network would find speech in them later.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MARGIN: Final = np.float32(10 ** (2.5 / 10))
"""The level of 32 ms chunks of white noise has a standard deviation of 0.4 dB.

The softest chunk of some seconds is 1 dB below their mean.
"""
CALM_CHUNKS: Final = 6
EVEN_CHUNKS: Final = 12
"""0.4 s. Notes and syllables are shorter; the pauses of several talkers together, too."""
CLEAR: Final = 0.1
"""Below this probability a chunk is clear non-speech."""
RISE: Final = np.float32(10 ** (0.3 / 10))
"""Maximum rise of the floor per clear chunk: 0.3 dB, or 9 dB a second."""
DRIFT: Final = np.float32(10 ** (0.05 / 10))
"""Maximum rise per skipped chunk: 0.05 dB, so that the floor approaches the mean of the noise."""
SOFTEST: Final = np.float32(10 ** (-75 / 10))
"""Mean square relative to full scale. With a floor below the resolution of G.711 the first sound after digital silence would be loud."""

Slots = NDArray[np.intp]
Energies = NDArray[np.float32]


class NoiseGate:
    """For `n_slots` streams. Call `reset` before the first chunk of a slot."""

    def __init__(self, n_slots: int) -> None:
        self._floor = np.full(n_slots, SOFTEST, np.float32)
        self._calm = np.zeros(n_slots, np.int64)
        self._even = np.zeros(n_slots, np.int64)
        """Chunks in a row that were no louder than the noise."""

    def reset(self, slot: int) -> None:
        """Start a stream in `slot` with an unknown noise floor."""
        self._floor[slot] = SOFTEST
        self._calm[slot] = self._even[slot] = 0

    def must_see(self, energies: Energies, slots: Slots, is_quiet: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which chunks must be evaluated. `energies` (k,): mean squares; `is_quiet` (k,): the slot's state is quiet."""
        floor = np.maximum(np.minimum(self._floor[slots], energies), SOFTEST)
        even = self._even[slots] = (self._even[slots] + 1) * (energies <= floor * MARGIN)
        seen = ~is_quiet | (self._calm[slots] < CALM_CHUNKS) | (even <= EVEN_CHUNKS)
        self._floor[slots] = np.where(seen, floor, np.maximum(np.minimum(energies, floor * DRIFT), floor))
        return np.asarray(seen)

    def learn(self, energies: Energies, slots: Slots, probabilities: NDArray[np.float32]) -> None:
        """Take the network's results for the evaluated chunks."""
        is_clear = probabilities < CLEAR
        self._calm[slots] = (self._calm[slots] + 1) * is_clear
        floor = self._floor[slots]
        self._floor[slots] = np.where(is_clear, np.minimum(np.maximum(energies, floor), floor * RISE), floor)
