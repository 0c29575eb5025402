"""Recordings without a header: raw samples, and G.722. The file contains neither rate nor channels; its reader must know them.

Interleaved (samples, 2) int16 goes in, a file grows, and every written byte is playable. `.pcm` has both channels, interleaved, as s16le at
the rate of the recording. `.g722` has one channel, because the format has no second: the mean of both, at 64 kbit/s (ITU-T G.722, the bytes
of RFC 3551 §4.5.2). This module knows no stream and no thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from active_call.codec.g722 import SAMPLE_RATE_HZ, G722Encoder
from active_call.codec.resample import StreamResampler

FRAME_BYTES: Final = 4
"""Two channels of 16 bits."""
G722_BYTES_PER_SECOND: Final = 8000


class _RawFile:
    """Unbuffered output to disk."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - it stays open for the whole call
        self.n_bytes = 0

    def append(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            n = self._file.write(view)
            self.n_bytes += n
            view = view[n:]

    def close(self) -> None:
        self._file.close()


class StereoPcm:
    """Raw s16le with both channels interleaved. Every method raises OSError on disk errors."""

    def __init__(self, path: str, rate_hz: int) -> None:
        self._file = _RawFile(path)
        self._rate_hz = rate_hz

    @property
    def duration_ms(self) -> int:
        """Duration of the sound in the file."""
        return self._file.n_bytes * 1000 // (FRAME_BYTES * self._rate_hz)

    def append(self, data: bytes | bytearray) -> None:
        """Write interleaved samples."""
        self._file.append(data)

    def close(self) -> None:
        self._file.close()


class MixedG722:
    """Raw G.722 with both channels mixed to one. Every method raises OSError on disk errors."""

    def __init__(self, path: str, rate_hz: int) -> None:
        self._file = _RawFile(path)
        self._encoder = G722Encoder()
        self._resampler = StreamResampler(rate_hz, SAMPLE_RATE_HZ) if rate_hz != SAMPLE_RATE_HZ else None
        self._odd = np.zeros(0, np.int16)
        """An odd sample that waits for its pair: the format packs pairs."""

    @property
    def duration_ms(self) -> int:
        """Duration of the sound in the file."""
        return self._file.n_bytes * 1000 // G722_BYTES_PER_SECOND

    def append(self, data: bytes | bytearray) -> None:
        """Mix interleaved samples down, encode and write them."""
        both = np.frombuffer(bytes(data), "<i2").reshape(-1, 2).astype(np.int32)
        mixed = (both.sum(axis=1) // 2).astype(np.int16)
        self._encode(self._resampler.push(mixed.tobytes()) if self._resampler is not None else mixed.tobytes())

    def close(self) -> None:
        """Write what the resampler still holds."""
        try:
            if self._resampler is not None:
                self._encode(self._resampler.flush())
        finally:
            self._file.close()

    def _encode(self, pcm: bytes) -> None:
        samples = np.concatenate([self._odd, np.frombuffer(pcm, np.int16)])
        n_whole = len(samples) // 2 * 2
        self._odd = samples[n_whole:]
        if n_whole:
            self._file.append(self._encoder.encode(samples[:n_whole]))
