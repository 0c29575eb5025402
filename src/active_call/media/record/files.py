"""One recording in the recorder process: frames with their ticks go in, a file without gaps in time grows.

Missing frames become silence, so that time never shifts. A disk error ends the recording with a report. This module knows no socket. The
file name extension selects the format.
"""

from __future__ import annotations

import contextlib
from typing import Final, Protocol

from active_call.base.pcm import FRAME_MS, samples_in
from active_call.media.link.reports import RecordingEnded
from active_call.media.record.link import BeginRecording
from active_call.media.record.wav import StereoWav

FRAME_BYTES: Final = 4
"""Two channels of 16 bits."""
ENDINGS: Final = {
    "wav": ".wav",
    "ogg": ".ogg",
    "mp3": ".mp3",
    "pcmu": ".pcmu.wav",
    "pcma": ".pcma.wav",
    "pcm": ".pcm",
    "g722": ".g722",
}
"""By format."""


class SoundFile(Protocol):
    """A file that is playable as far as it was written. Every method raises OSError."""

    @property
    def duration_ms(self) -> int:
        """Duration of the sound in the file."""
        ...

    def append(self, data: bytes | bytearray) -> None:
        """Write interleaved samples."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


def open_file(path: str, rate_hz: int) -> SoundFile:
    """Create the file and its folder. Raises OSError."""
    lower = path.lower()
    if lower.endswith((".pcmu.wav", ".pcma.wav")):
        from active_call.media.record.compressed import StereoG711

        return StereoG711(path, rate_hz, lower[-8:-4])
    if lower.endswith((".ogg", ".opus", ".mp3")):
        from active_call.media.record.compressed import StereoCompressed  # loads FFmpeg, which plain WAV does not need

        return StereoCompressed(path, rate_hz, "mp3" if lower.endswith(".mp3") else "ogg")
    if lower.endswith((".pcm", ".g722")):
        from active_call.media.record.headerless import MixedG722, StereoPcm

        return StereoPcm(path, rate_hz) if lower.endswith(".pcm") else MixedG722(path, rate_hz)
    return StereoWav(path, rate_hz)


class Recording:
    """A file being written. After its first error it writes nothing more. `report` is set then, or after `end`."""

    def __init__(self, begin: BeginRecording) -> None:
        self._begin = begin
        self._frame_bytes = samples_in(FRAME_MS, begin.rate_hz) * FRAME_BYTES
        self._flush_bytes = max(begin.flush_ms // FRAME_MS, 1) * self._frame_bytes
        self._pending = bytearray()
        self._first_tick: int | None = None
        self._n_ticks = 0
        self._lost_ticks = 0
        self._file: SoundFile | None = None
        self.report: RecordingEnded | None = None
        try:
            self._file = open_file(begin.path, begin.rate_hz)
        except OSError as error:
            self._fail(error)

    def append(self, tick: int, data: memoryview) -> None:
        """Append the frame of `tick`."""
        self._fill_up_to(tick)
        self._pending += data
        self._n_ticks += 1
        if len(self._pending) >= self._flush_bytes:
            self._flush()

    def end(self, tick: int | None = None) -> None:
        """Finish before the frame of `tick`, or with the frames received."""
        if self.report is not None:
            return
        if tick is not None:
            self._fill_up_to(tick)
        self._flush()
        if self._file is None or self.report is not None:
            return
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)
            return
        lost_ms = self._lost_ticks * FRAME_MS
        error_text = f"{lost_ms} ms of sound are missing: the disk or the process was too slow" if lost_ms else ""
        self.report = RecordingEnded(self._begin.stream, self._begin.path, self._file.duration_ms, error_text)

    def _fill_up_to(self, tick: int) -> None:
        if self._first_tick is None:
            self._first_tick = tick
        missing = tick - self._first_tick - self._n_ticks
        if missing > 0:
            self._pending += bytes(missing * self._frame_bytes)
            self._n_ticks += missing
            self._lost_ticks += missing

    def _flush(self) -> None:
        if self._file is not None and self._pending:
            try:
                self._file.append(self._pending)
            except OSError as error:
                self._fail(error)
        self._pending.clear()

    def _fail(self, error: OSError) -> None:
        duration_ms = self._file.duration_ms if self._file is not None else 0
        if self._file is not None:
            with contextlib.suppress(OSError):  # the first error is reported
                self._file.close()
        self._file = None
        self.report = RecordingEnded(self._begin.stream, self._begin.path, duration_ms, f"{self._begin.path}: {error.strerror or error}")
