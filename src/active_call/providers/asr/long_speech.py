"""Cuts long speech at the quietest place, for a recogniser whose cost grows with the square of the length. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import LISTEN_RATE_HZ

Floats = NDArray[np.float32]

MAX_PART_S = 12.0
"""The longest part. Ten seconds of speech cost Moonshine 0.4 s of CPU, 27 s in one piece 1.4 s."""
SEARCH_S = 5.0
"""The cut lies in this last stretch of a part; a speaker breathes more often than that."""
WINDOW_S = 0.16
"""The length of a short pause."""


def split_long(samples: Floats) -> Iterator[Floats]:
    """`samples` (16 kHz) in order, in parts of at most `MAX_PART_S`, cut in pauses."""
    longest = int(MAX_PART_S * LISTEN_RATE_HZ)
    while len(samples) > longest:
        cut = _quietest(samples[:longest])
        yield samples[:cut]
        samples = samples[cut:]
    yield samples


def _quietest(samples: Floats) -> int:
    """The middle of the quietest window in the last `SEARCH_S`."""
    window = int(WINDOW_S * LISTEN_RATE_HZ)
    first = len(samples) - int(SEARCH_S * LISTEN_RATE_HZ)
    power = np.cumsum(np.square(samples[first:], dtype=np.float64))
    return first + int((power[window:] - power[:-window]).argmin()) + window // 2
