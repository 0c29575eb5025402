"""Units of sound: linear PCM is signed 16-bit little-endian mono everywhere; a frame is 20 ms."""

from __future__ import annotations

FRAME_MS = 20
BYTES_PER_SAMPLE = 2
LISTEN_RATE_HZ = 16_000
"""The rate at which speech is detected and recognised."""


def samples_in(duration_ms: float, rate_hz: int) -> int:
    """Whole samples in `duration_ms` at `rate_hz`."""
    return int(duration_ms * rate_hz / 1000)


def duration_ms(n_samples: int, rate_hz: int) -> float:
    """How long `n_samples` sound at `rate_hz`."""
    return n_samples * 1000 / rate_hz
