"""A growing stereo WAV file that stays playable if the writer dies: every flush updates the sizes in its header.

Interleaved samples go in: two channels of 16 bits, or of one byte for G.711. This module knows no stream and no thread. RIFF/WAVE, formats
1 (PCM), 6 (A-law) and 7 (mu-law).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 44
N_CHANNELS: Final = 2
PCM: Final = 1
ALAW: Final = 6
MULAW: Final = 7

_MAX_DATA_BYTES: Final = 0xFFFFFFFF - HEADER_BYTES


def header(rate_hz: int, data_bytes: int, kind: int = PCM) -> bytes:
    """The 44 bytes before the samples."""
    sample_bytes = 2 if kind == PCM else 1
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        HEADER_BYTES - 8 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,
        kind,
        N_CHANNELS,
        rate_hz,
        rate_hz * N_CHANNELS * sample_bytes,
        N_CHANNELS * sample_bytes,
        8 * sample_bytes,
        b"data",
        data_bytes,
    )


class StereoWav:
    """One file. Every method raises OSError on disk errors."""

    def __init__(self, path: str, rate_hz: int, kind: int = PCM) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - it stays open for the whole call
        self._rate_hz = rate_hz
        self._kind = kind
        self._data_bytes = 0
        self._file.write(header(rate_hz, 0, kind))

    @property
    def duration_ms(self) -> int:
        """Duration of the sound in the file."""
        return self._data_bytes * 1000 // (N_CHANNELS * (2 if self._kind == PCM else 1) * self._rate_hz)

    def append(self, data: bytes | bytearray) -> None:
        """Write interleaved samples, then the sizes. Raises OSError beyond the 4 GiB limit of the format."""
        if self._data_bytes + len(data) > _MAX_DATA_BYTES:
            raise OSError("the WAV format ends at 4 GiB")
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._data_bytes += len(data)
        os.pwrite(self._file.fileno(), header(self._rate_hz, self._data_bytes, self._kind), 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
