"""A stereo WAV file that grows and is playable whenever the writer dies: the sizes in its header follow every flush.

Frames of (samples, 2) int16 enter. Knows no stream and no thread. RIFF/WAVE, PCM format 1.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 44
BYTES_PER_FRAME: Final = 4
"""Two channels of 16 bits."""

_MAX_DATA_BYTES: Final = 0xFFFFFFFF - HEADER_BYTES


def header(rate_hz: int, data_bytes: int) -> bytes:
    """The 44 bytes before the samples."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        HEADER_BYTES - 8 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        2,
        rate_hz,
        rate_hz * BYTES_PER_FRAME,
        BYTES_PER_FRAME,
        16,
        b"data",
        data_bytes,
    )


class StereoWav:
    """One file. Raises OSError from every method, as the disk does."""

    def __init__(self, path: str, rate_hz: int) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - it lives as long as the call
        self._rate_hz = rate_hz
        self._data_bytes = 0
        self._file.write(header(rate_hz, 0))

    @property
    def duration_ms(self) -> int:
        """How much sound the file holds."""
        return self._data_bytes * 1000 // (BYTES_PER_FRAME * self._rate_hz)

    def append(self, data: bytes | bytearray) -> None:
        """Write interleaved samples, then the sizes. What does not fit into the format's 4 GiB is refused by OSError."""
        if self._data_bytes + len(data) > _MAX_DATA_BYTES:
            raise OSError("the WAV format ends at 4 GiB")
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._data_bytes += len(data)
        end = self._file.tell()
        self._file.seek(0)
        self._file.write(header(self._rate_hz, self._data_bytes))
        self._file.seek(end)

    def close(self) -> None:
        self._file.close()
