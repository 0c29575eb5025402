"""One stream's frames from one rate to another: where the rate of the plays is not that of the codec, after a
change of codec in mid-call, or not that of a recording.

20 ms frames enter and leave, (samples,) int16.
"""

from __future__ import annotations

from active_call.codec.polyphase import OneStreamResampler
from active_call.media.send.mixer import Samples


class Conversion:
    """From `rates[0]` to `rates[1]` Hz: one is a multiple of the other. Raises ValueError for other pairs."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        self.rates = (source_hz, target_hz)
        self._resampler = OneStreamResampler(source_hz, target_hz)

    def process(self, frame: Samples) -> Samples:
        """The next frame; joins the one before without a seam."""
        return self._resampler.process(frame)
