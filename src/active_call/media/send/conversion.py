"""Resample one stream's frames: after a change of codec, when the rate of the plays differs from the codec's, or for a recording.

20 ms frames go in and come out, (samples,) int16.
"""

from __future__ import annotations

from active_call.codec.polyphase import OneStreamResampler
from active_call.media.send.mixer import Samples


class Conversion:
    """From `rates[0]` to `rates[1]` Hz. One must be a multiple of the other. Raises ValueError for other pairs."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self.rates = (source_hz, target_hz)
        self._resampler = OneStreamResampler(source_hz, target_hz)

    def process(self, frame: Samples) -> Samples:
        """The next frame, continuous with the previous one."""
        return self._resampler.process(frame)
