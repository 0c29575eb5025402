"""G.722 at 64 kbit/s over libg722 (ITU-T G.722; RFC 3551 section 4.5.2): one stream at a time: each sample depends on the last.

Samples at 16 kHz enter and half as many bytes leave, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from G722 import G722
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_BIT_RATE = 64_000


class G722Encoder:
    """One stream's sound to payloads, of any even number of samples."""

    __slots__ = ("_coder", "sample_rate_hz")

    def __init__(self) -> None:
        self.sample_rate_hz = SAMPLE_RATE_HZ
        self._coder = G722(SAMPLE_RATE_HZ, _BIT_RATE)

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return one byte for two samples."""
        if len(samples) % 2:
            raise ValueError(f"G.722 packs pairs of samples, not {len(samples)}")
        payload: bytes = self._coder.encode(np.ascontiguousarray(samples, np.int16))
        return payload


def new_decode() -> Callable[[bytes], NDArray[np.int16]]:
    """A fresh stream's function from payloads to samples, two for each byte."""
    coder = G722(SAMPLE_RATE_HZ, _BIT_RATE)

    def decode(payload: bytes) -> NDArray[np.int16]:
        return np.frombuffer(coder.decode(payload), np.int16)

    return decode
