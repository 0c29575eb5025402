"""G.722 at 64 kbit/s with libg722 (ITU-T G.722; RFC 3551 §4.5.2), one stream at a time, because each sample depends on the last.

Samples at 16 kHz go in and half as many bytes come out, and vice versa.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from G722 import G722
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_BIT_RATE = 64_000


class G722Encoder:
    """Encoder of one stream, for any even number of samples."""

    __slots__ = ("_coder", "sample_rate_hz")

    def __init__(self) -> None:
        self.sample_rate_hz = SAMPLE_RATE_HZ
        self._coder = G722(SAMPLE_RATE_HZ, _BIT_RATE)

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return one byte per two samples."""
        if len(samples) % 2:
            raise ValueError(f"G.722 packs pairs of samples, not {len(samples)}")
        payload: bytes = self._coder.encode(np.ascontiguousarray(samples, np.int16))
        return payload


def new_decode() -> Callable[[bytes], NDArray[np.int16]]:
    """A decode function for a new stream: payload to samples, two per byte."""
    coder = G722(SAMPLE_RATE_HZ, _BIT_RATE)

    def decode(payload: bytes) -> NDArray[np.int16]:
        return np.frombuffer(coder.decode(payload), np.int16)

    return decode
