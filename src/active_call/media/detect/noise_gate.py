"""Which chunks of sound are no louder than the noise of their line, so that the voice detector's network need not look at them.

Energies of chunks enter with their slots, and what the network made of those that it has seen; which chunks it must see leaves. All state
is in arrays over slots.

Theory. On a quiet line the network says the same in every chunk between two phrases, at nine tenths of the detector's cost. The floor of a
line is the energy of its softest chunk lately: it falls at once, and rises only by chunks in which the network is sure that nobody speaks.
So speech cannot raise it, and noise that grows lets the network look until the floor has followed. A chunk is left out when its slot has
been calm for `CALM_CHUNKS`, as the network saw it, and the chunk is at most `MARGIN` over the floor: speech as loud as the noise itself is
over it. Lines whose noise changes all the time (talk, music) are looked at in every chunk.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MARGIN: Final = np.float32(10 ** (2.5 / 10))
"""Chunks of 32 ms of white noise differ by 0.4 dB (one sigma); the softest of some seconds lies 1 dB below their mean."""
CALM_CHUNKS: Final = 6
CLEAR: Final = 0.1
"""Below this probability the network is sure that nobody speaks."""
RISE: Final = np.float32(10 ** (0.3 / 10))
"""A clear chunk lets the floor rise by at most 0.3 dB: 9 dB a second."""
DRIFT: Final = np.float32(10 ** (0.05 / 10))
"""A chunk that is left out lets it rise by at most 0.05 dB, so that the floor comes to the middle of the noise."""
SOFTEST: Final = np.float32(10 ** (-75 / 10))
"""Mean square of full scale. A floor below the resolution of G.711 would make the first sound after digital silence loud."""

Slots = NDArray[np.intp]
Energies = NDArray[np.float32]


class NoiseGate:
    """For `n_slots` streams. A slot must be `reset` before its first chunk."""

    def __init__(self, n_slots: int) -> None:
        self._floor = np.full(n_slots, SOFTEST, np.float32)
        self._calm = np.zeros(n_slots, np.int64)

    def reset(self, slot: int) -> None:
        """A stream begins in `slot`: nothing is known of its noise."""
        self._floor[slot] = SOFTEST
        self._calm[slot] = 0

    def must_see(self, energies: Energies, slots: Slots, is_quiet: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of these chunks the network must see. `energies` (k,): mean squares; `is_quiet` (k,): nobody speaks in that slot so far."""
        floor = np.maximum(np.minimum(self._floor[slots], energies), SOFTEST)
        seen = ~is_quiet | (self._calm[slots] < CALM_CHUNKS) | (energies > floor * MARGIN)
        self._floor[slots] = np.where(seen, floor, np.maximum(np.minimum(energies, floor * DRIFT), floor))
        return np.asarray(seen)

    def learn(self, energies: Energies, slots: Slots, probabilities: NDArray[np.float32]) -> None:
        """The network has seen these chunks."""
        is_clear = probabilities < CLEAR
        self._calm[slots] = (self._calm[slots] + 1) * is_clear
        floor = self._floor[slots]
        self._floor[slots] = np.where(is_clear, np.minimum(np.maximum(energies, floor), floor * RISE), floor)
