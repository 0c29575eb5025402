"""The frames of all rows of one tick, at 8 and at 16 kHz. Each rate is computed when it is first asked for in that tick.

Frames enter as they came: first the rows at 8 kHz, then those at 16 kHz. (rows, samples) int16 leave, in the same order.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.codec.resample import Downsampler16to8, Upsampler8to16
from active_call.media.send.mixer import Samples
from active_call.media.send.packet_batch import FRAME_SAMPLES, Slots

_WIDE_SAMPLES: Final = 2 * FRAME_SAMPLES
_FULL_SCALE: Final = 32768


class TickFrames:
    """Call `put` once per tick. What is returned is valid until the next one and must not be changed."""

    def __init__(self, capacity: int) -> None:
        self._upsampler = Upsampler8to16(capacity)
        self._downsampler = Downsampler16to8(capacity)
        self.narrow: Samples = np.zeros((0, FRAME_SAMPLES), np.int16)
        """The frames that came at 8 kHz: the first rows."""
        self.wide: Samples = np.zeros((0, _WIDE_SAMPLES), np.int16)
        """The frames that came at 16 kHz: the last rows."""
        self._slots: Slots = np.zeros(0, np.intp)
        self._joined: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        """`narrow` as the upsampler needs it: joined to what came before."""
        self._all_narrow: Samples | None = None
        self._all_wide: Samples | None = None

    def __len__(self) -> int:
        return len(self.narrow) + len(self.wide)

    def warm_up(self, slots: Slots) -> Samples:
        """Silence of these slots at 16 kHz. `reset` them afterwards."""
        return self._upsampler.process_pcm(np.zeros((len(slots), FRAME_SAMPLES), np.int16), slots)

    def reset(self, slot: int) -> None:
        """Another stream has this slot."""
        self._upsampler.reset(slot)
        self._downsampler.reset(slot)

    def put(self, narrow: Samples, wide: Samples, slots: Slots) -> None:
        """The frames of this tick as they came, and the slot of each row."""
        self.narrow, self.wide, self._slots = narrow, wide, slots
        self._joined = self._upsampler.join(narrow, slots[: len(narrow)])
        self._all_narrow = self._all_wide = None

    def all_narrow(self) -> Samples:
        """All rows at 8 kHz."""
        if self._all_narrow is None:
            self._all_narrow = self.narrow
            if len(self.wide):
                more = self._downsampler.process(self.wide, self._slots[len(self.narrow) :])
                self._all_narrow = np.concatenate((self.narrow, np.asarray(more * _FULL_SCALE, np.int16)))
        return self._all_narrow

    def all_wide(self) -> Samples:
        """All rows at 16 kHz."""
        if self._all_wide is None:
            self._all_wide = self._upsampler.convert_pcm(self._joined)
            if len(self.wide):
                self._all_wide = np.concatenate((self._all_wide, self.wide))
        return self._all_wide
