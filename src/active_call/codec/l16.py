"""Linear 16-bit samples in network byte order (RFC 3551 §4.5.11)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode(samples: NDArray[np.int16]) -> bytes:
    """Return two bytes per sample."""
    return samples.astype(">i2").tobytes()


def decode(payload: bytes) -> NDArray[np.int16]:
    """Return the samples of a payload of an even number of bytes."""
    return np.frombuffer(payload, ">i2").astype(np.int16)
