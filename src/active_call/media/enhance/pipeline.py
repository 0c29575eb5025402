"""Noise suppression, then gain, for the streams that ask for them.

16 kHz frames of all started streams go in; the rows of streams that ask are replaced. Detection and recognition get the result; recordings
and bridges get the original sound. State is in arrays by slot. If no stream asks, a tick does nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.media.enhance.gain import GainControl, GainSettings
from active_call.media.enhance.noise_suppression import NoiseSuppressor

Slots = NDArray[np.intp]
Frames = NDArray[np.float32]


class EnhancePipeline:
    """For `n_slots` streams."""

    def __init__(self, n_slots: int) -> None:
        self._suppressor = NoiseSuppressor(n_slots, LISTEN_RATE_HZ)
        self._gain = GainControl(n_slots, LISTEN_RATE_HZ)
        self._denoises: NDArray[np.bool_] = np.zeros(n_slots, np.bool_)
        self._levels: NDArray[np.bool_] = np.zeros(n_slots, np.bool_)
        self.is_idle = True
        """Nothing to do: no stream asks for it, or it is shed because ticks are late."""
        self._is_shedding = False

    def use(self, slot: int, *, denoise: bool, gain: GainSettings | None) -> None:
        """Set the processing of `slot`."""
        if denoise and not self._denoises[slot]:
            self._suppressor.reset(slot)
        if gain is not None:
            self._gain.reset(slot, gain)
        self._denoises[slot], self._levels[slot] = denoise, gain is not None
        self._settle()

    def set_shedding(self, is_shedding: bool) -> None:
        """Stop processing while ticks are late. Afterwards the state is reset, because it is old."""
        if self._is_shedding and not is_shedding:
            for slot in np.flatnonzero(self._denoises).tolist():
                self._suppressor.reset(slot)
        self._is_shedding = is_shedding
        self._settle()

    def _settle(self) -> None:
        self.is_idle = self._is_shedding or not (self._denoises.any() or self._levels.any())

    def process(self, sound: Frames, slots: Slots) -> Frames:
        """`sound` (k, 320) in [-1, 1), rows as in `slots`. Returns the same array, or a copy with the processed rows."""
        denoises, levels = np.flatnonzero(self._denoises[slots]), np.flatnonzero(self._levels[slots])
        if not len(denoises) and not len(levels):
            return sound
        enhanced = sound.copy()
        if len(denoises):
            enhanced[denoises] = self._suppressor.process(enhanced[denoises], slots[denoises])
        if len(levels):
            enhanced[levels] = self._gain.process(enhanced[levels], slots[levels])
        return enhanced
