"""Recordings: the tick hands over what was heard and sent, one thread writes the files, and the tick never waits for a disk.

Stereo frames of all recordings enter once per tick, in one piece; `RecordingEnded` reports leave through `take_ended`. Between the two
lies a bounded queue. When the disk stalls so long that the queue is full, sound is lost but not time: every piece carries its tick, and
the writer puts silence where pieces are missing, so that both sides and the clock stay aligned. What was lost is told in `error`.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from active_call.base.pcm import FRAME_MS, samples_in
from active_call.media.link import RecordingEnded
from active_call.media.wav import BYTES_PER_FRAME, StereoWav

QUEUE_TICKS: Final = 750
"""15 s of a disk that does not answer; at 16 kHz about 1 MB for each recording."""
FLUSH_TICKS: Final = 25
"""Half a second of sound per write."""
CLOSE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Begin:
    recording: int
    stream: int
    path: str
    rate_hz: int


@dataclass(frozen=True, slots=True)
class _End:
    recording: int
    tick: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tick's sound of several recordings, all at one rate, one behind the other in `data`."""

    tick: int
    recordings: tuple[int, ...]
    data: bytes


class _Recording:
    """A file being written: used by the writer's thread only. After the first error it writes nothing more."""

    def __init__(self, begin: _Begin) -> None:
        self._begin = begin
        self._frame_bytes = samples_in(FRAME_MS, begin.rate_hz) * BYTES_PER_FRAME
        self._pending = bytearray()
        self._first_tick: int | None = None
        self._n_ticks = 0
        self._lost_ticks = 0
        self._error = ""
        self._file: StereoWav | None = None
        try:
            self._file = StereoWav(begin.path, begin.rate_hz)
        except OSError as error:
            self._error = str(error)

    def append(self, tick: int, data: memoryview) -> None:
        self._fill_up_to(tick)
        self._pending += data
        self._n_ticks += 1
        if len(self._pending) >= FLUSH_TICKS * self._frame_bytes:
            self._flush()

    def frame_bytes(self) -> int:
        return self._frame_bytes

    def end(self, tick: int) -> RecordingEnded:
        self._fill_up_to(tick)
        self._flush()
        duration_ms = 0
        if self._file is not None:
            duration_ms = self._file.duration_ms
            try:
                self._file.close()
            except OSError as error:
                self._error = self._error or str(error)
        if self._lost_ticks and not self._error:
            self._error = f"{self._lost_ticks * FRAME_MS} ms of sound are missing: the disk or the process was too slow"
        return RecordingEnded(self._begin.stream, self._begin.path, duration_ms, self._error)

    def _fill_up_to(self, tick: int) -> None:
        if self._first_tick is None:
            self._first_tick = tick
        missing = tick - self._first_tick - self._n_ticks
        if missing > 0:
            self._pending += bytes(missing * self._frame_bytes)
            self._n_ticks += missing
            self._lost_ticks += missing

    def _flush(self) -> None:
        if self._file is not None and not self._error and self._pending:
            try:
                self._file.append(self._pending)
            except OSError as error:
                self._error = str(error)
        self._pending.clear()


_Item = _Begin | _End | _Piece | None


class Recorder:
    """The door to the writer's thread. All methods are for the thread of the tick, and none of them blocks but `close`."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._ended: deque[RecordingEnded] = deque()
        self._next_recording = 0
        self.lost_pieces = 0
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, stream: int, path: str, rate_hz: int) -> int:
        """Open a file whose first frame will be the first that is written; returns the number of the recording."""
        self._next_recording += 1
        self._queue.put(_Begin(self._next_recording, stream, path, rate_hz))
        return self._next_recording

    def write(self, tick: int, recordings: tuple[int, ...], data: bytes) -> None:
        """Hand over one frame of each of `recordings`, which all have the same rate. `data` is their (recordings, samples, 2) int16."""
        if self._queue.qsize() >= QUEUE_TICKS:
            self.lost_pieces += 1
            return
        self._queue.put(_Piece(tick, recordings, data))

    def end(self, recording: int, tick: int) -> None:
        """Finish the file before the frame of `tick`; its RecordingEnded comes later."""
        self._queue.put(_End(recording, tick))

    def take_ended(self) -> list[RecordingEnded]:
        """The recordings that are complete, or could not be."""
        ended: list[RecordingEnded] = []
        while self._ended:
            ended.append(self._ended.popleft())
        return ended

    def close(self) -> None:
        """Write what is queued and stop. Returns after `CLOSE_TIMEOUT_S` at the latest, with a stalled disk left to itself."""
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _write(self) -> None:
        open_files: dict[int, _Recording] = {}
        while (item := self._queue.get()) is not None:
            match item:
                case _Begin():
                    open_files[item.recording] = _Recording(item)
                case _Piece():
                    _write_piece(open_files, item)
                case _End():
                    recording = open_files.pop(item.recording, None)
                    if recording is not None:
                        self._ended.append(recording.end(item.tick))


def _write_piece(open_files: dict[int, _Recording], piece: _Piece) -> None:
    size = len(piece.data) // len(piece.recordings)
    data = memoryview(piece.data)
    for position, number in enumerate(piece.recordings):
        recording = open_files.get(number)
        if recording is not None:
            recording.append(piece.tick, data[position * size : (position + 1) * size])
