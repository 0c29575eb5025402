"""Sample arithmetic for playing: saturating addition and fades.

Arrays go in and come out, (samples,) int16 at any rate. This module knows no stream and no clock.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]


def add_saturated(target: Samples, sound: Samples) -> None:
    """Add `sound` to `target` in place, clipped to 16 bits. Both have the same length."""
    total = target.astype(np.int32)
    total += sound
    np.clip(total, -32768, 32767, out=total)
    target[:] = total


def faded_out(sound: Samples) -> Samples:
    """A copy of `sound` with a raised-cosine fade-out."""
    return (sound * _fall(len(sound))).astype(np.int16)


def faded_in(sound: Samples) -> Samples:
    """A copy of `sound` with a raised-cosine fade-in."""
    return (sound * _fall(len(sound))[::-1]).astype(np.int16)


@lru_cache(maxsize=64)
def _fall(n_samples: int) -> NDArray[np.float32]:
    """The falling half of a raised cosine: near 1 at the start, near 0 at the end, symmetric about the middle."""
    middles = (np.arange(n_samples) + 0.5) / max(n_samples, 1)
    return (0.5 + 0.5 * np.cos(np.pi * middles)).astype(np.float32)
