"""Both sides of a call as one stereo stream for a listener: s16le at 16 kHz, the caller left, this side right.

The pieces of `taps` enter, for each side separately; interleaved frames leave. A side that is `LAG_MS` behind the other is filled with
silence. Pure.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE, samples_in
from active_call.call.sound.taps import CALLERS, RATE_HZ

LAG_MS: Final = 200
_LAG_BYTES: Final = samples_in(LAG_MS, RATE_HZ) * BYTES_PER_SAMPLE


class StereoMix:
    """Joins the two sides of one call."""

    def __init__(self) -> None:
        self._sides = [bytearray(), bytearray()]

    def push(self, side: int, pcm: bytes) -> bytes:
        """Add more of one side; returns the complete frames, possibly none."""
        self._sides[side] += pcm
        ours, callers = self._sides[1 - CALLERS], self._sides[CALLERS]
        ahead = max(len(ours), len(callers)) - _LAG_BYTES
        n_bytes = max(min(len(ours), len(callers)), ahead)
        n_bytes -= n_bytes % BYTES_PER_SAMPLE
        if n_bytes <= 0:
            return b""
        both = np.zeros((n_bytes // BYTES_PER_SAMPLE, 2), "<i2")
        for column, sound in ((0, callers), (1, ours)):
            samples = np.frombuffer(bytes(sound[:n_bytes]), "<i2")
            both[len(both) - len(samples) :, column] = samples
            del sound[:n_bytes]
        return both.tobytes()
