"""Resample one stream's frames: after a change of codec, when the rate of the plays differs from the codec's, or for a recording.

20 ms frames go in and come out, (samples,) int16. The batched filters of `codec.resample` do the work with a batch of one.
"""

from __future__ import annotations

import numpy as np

from active_call.codec.polyphase import Resampler
from active_call.codec.resample import Downsampler16to8, Upsampler8to16
from active_call.media.send.mixer import Samples

_FULL_SCALE = np.float32(32768)
_ONLY = np.zeros(1, np.intp)


class Conversion:
    """From `rates[0]` to `rates[1]` Hz. One must be a multiple of the other. Raises ValueError for other pairs."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self.rates = (source_hz, target_hz)
        match self.rates:
            case (8000, 16000):
                self._filter: Upsampler8to16 | Downsampler16to8 | Resampler = Upsampler8to16(1)
            case (16000, 8000):
                self._filter = Downsampler16to8(1)
            case _:
                self._filter = Resampler(1, source_hz, target_hz)

    def process(self, frame: Samples) -> Samples:
        """The next frame, continuous with the previous one."""
        return np.asarray(self._filter.process(frame[None], _ONLY)[0] * _FULL_SCALE, np.int16)
