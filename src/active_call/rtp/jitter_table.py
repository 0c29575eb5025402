"""The jitter buffers of many streams as arrays: the packet that is simply the next one, and the frame that is simply due, for all at once.

Rows of packets enter, rows of frames leave. A row is a stream; its `jitter.JitterBuffer` does what is not simple, on the same numbers, and
is the one that says what is right: what is done here equals its `push` and `pop`, and a property test shows that.

Frames wait in a ring of `RING` cells a row. The cell of the cursor is `head`; the one k frames later lies k cells further on.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.rtp.delay import ADJUST_AFTER, DRIFT_LEAK_S, MASK, MAX_TARGET_MS, PEAK_DECAY, PEAK_IGNORED_S

CLOCK_HZ: Final = 8000
FRAME_BYTES: Final = FRAME_MS * CLOCK_HZ // 1000
RING: Final = 40
"""The deepest that a buffer becomes (400 ms) and the longest payload that a datagram can bring on top of that."""
_FRAME_S: Final = FRAME_MS / 1000
_MAX_TARGET: Final = MAX_TARGET_MS // FRAME_MS

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]


class RowBuffer(Protocol):
    """The buffer of one row."""

    def lay(self, timestamp: int, payload: bytes) -> None:
        """Keep sound of any length."""
        ...

    def pop(self) -> bytes | None:
        """The frame of this tick."""
        ...


class JitterTable:
    """The columns, for `n_rows` streams; the names are those of `JitterBuffer` and `PlayoutDelay`."""

    def __init__(self, n_rows: int) -> None:
        self.buffers: list[RowBuffer | None] = [None] * n_rows
        """Of each row: who does what is not simple. A new one takes the row over."""
        self.frames: NDArray[np.uint8] = np.zeros((n_rows, RING, FRAME_BYTES), np.uint8)
        self.present: NDArray[np.bool_] = np.zeros((n_rows, RING), np.bool_)
        self.head: Rows = np.zeros(n_rows, np.intp)
        self.depth: Numbers = np.zeros(n_rows, np.int64)
        self.received: Numbers = np.zeros(n_rows, np.int64)
        self.sequence: Numbers = np.full(n_rows, -1)
        self.cursor: Numbers = np.zeros(n_rows, np.int64)
        self.fast_limit: Numbers = np.zeros(n_rows, np.int64)
        """A next packet less far ahead of the cursor than this needs no judgement."""
        self.playing: NDArray[np.bool_] = np.zeros(n_rows, np.bool_)
        self.waited: Numbers = np.full(n_rows, -1)
        self.excess: Numbers = np.zeros(n_rows, np.int64)
        self.shortage: Numbers = np.zeros(n_rows, np.int64)
        self.timestamp: Numbers = np.zeros(n_rows, np.int64)
        self.arrival: Seconds = np.zeros(n_rows)
        self.lateness: Seconds = np.zeros(n_rows)
        self.peak: Seconds = np.zeros(n_rows)
        self.packet_frames: Numbers = np.ones(n_rows, np.int64)
        self.target_frames: Numbers = np.ones(n_rows, np.int64)

    def ahead(self, rows: Rows, sequence: Numbers, timestamp: Numbers) -> Numbers:
        """How far ahead of the cursor each row's packet lies, in ticks, when it can be pushed here; -1 when its buffer must judge it."""
        ahead = (timestamp - self.cursor[rows]) & MASK
        is_simple = ((sequence - self.sequence[rows]) & 0xFFFF == 1) & (ahead < self.fast_limit[rows])
        return np.where(is_simple, ahead, -1)

    def push(self, rows: Rows, sequence: Numbers, timestamp: Numbers, arrival: Seconds) -> None:
        """Note one packet for each of `rows`, all different, of which `ahead` says that it can be pushed. Its sound is to be kept next."""
        lateness = self.lateness[rows] + arrival - self.arrival[rows] - ((timestamp - self.timestamp[rows]) & MASK) / CLOCK_HZ
        lateness -= DRIFT_LEAK_S
        peak = self.peak[rows]
        peak = np.where(lateness > peak, np.minimum(lateness, _MAX_TARGET * _FRAME_S), peak * PEAK_DECAY)
        frames = np.ceil((peak - PEAK_IGNORED_S) / _FRAME_S).astype(np.int64)
        self.received[rows] += 1
        self.sequence[rows] = sequence
        self.arrival[rows] = arrival
        self.timestamp[rows] = timestamp
        self.lateness[rows] = np.maximum(lateness, 0.0)
        self.peak[rows] = peak
        self.target_frames[rows] = np.minimum(1 + np.maximum(frames, 0), _MAX_TARGET) + self.packet_frames[rows] - 1

    def keep(self, rows: Rows, ahead: Numbers, frames: NDArray[np.uint8]) -> None:
        """Keep whole frames, (n, 160), whose `ahead` is a multiple of a frame. Other sound is for `RowBuffer.lay`."""
        cell = (self.head[rows] + ahead // FRAME_BYTES) % RING
        self.frames[rows, cell] = frames
        self.depth[rows] += ~self.present[rows, cell]
        self.present[rows, cell] = True

    def pop(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The frame of this tick for each of `rows`, all different, (n, 160), and where there is one. Call it once in 20 ms."""
        depth, target, head = self.depth[rows], self.target_frames[rows], self.head[rows]
        excess = (self.excess[rows] + 1) * (depth > target)
        shortage = (self.shortage[rows] + 1) * (depth < target)
        is_there = self.playing[rows] & self.present[rows, head] & (excess <= ADJUST_AFTER) & (shortage <= ADJUST_AFTER)
        frames = self.frames[rows, head]
        simple = rows
        if not is_there.all():
            simple, head, excess, shortage = (each[is_there] for each in (rows, head, excess, shortage))
            self._pop_rare(rows, np.flatnonzero(~is_there & (self.waited[rows] >= 0)), frames, is_there)
        self.excess[simple] = excess
        self.shortage[simple] = shortage
        self.present[simple, head] = False
        self.depth[simple] -= 1
        self.head[simple] = (head + 1) % RING
        self.cursor[simple] = (self.cursor[simple] + FRAME_BYTES) & MASK
        return frames, is_there

    def _pop_rare(self, rows: Rows, places: Rows, frames: NDArray[np.uint8], is_there: NDArray[np.bool_]) -> None:
        """Let the buffers of the rows at `places` say what they play; fills in `frames` and `is_there`. Rows that are idle play nothing."""
        for place in places.tolist():
            buffer = self.buffers[rows[place]]
            frame = buffer.pop() if buffer is not None else None
            if frame is not None:
                frames[place] = np.frombuffer(frame, np.uint8)
                is_there[place] = True


class RowFrames:
    """What waits in one row, by timestamp. A timestamp before the cursor, off its grid or beyond the ring has no place."""

    __slots__ = ("_row", "_table")

    def __init__(self, table: JitterTable, row: int) -> None:
        self._table = table
        self._row = row

    def __len__(self) -> int:
        return int(self._table.depth[self._row])

    def __contains__(self, timestamp: int) -> bool:
        cell = self._cell(timestamp)
        return cell >= 0 and bool(self._table.present[self._row, cell])

    def __setitem__(self, timestamp: int, frame: bytes) -> None:
        cell = self._cell(timestamp)
        if cell >= 0:
            table, row = self._table, self._row
            table.frames[row, cell] = np.frombuffer(frame, np.uint8)
            table.depth[row] += not table.present[row, cell]
            table.present[row, cell] = True

    def get(self, timestamp: int) -> bytes | None:
        return self._table.frames[self._row, self._cell(timestamp)].tobytes() if timestamp in self else None

    def pop(self, timestamp: int) -> bytes | None:
        frame = self.get(timestamp)
        if frame is not None:
            self._table.present[self._row, self._cell(timestamp)] = False
            self._table.depth[self._row] -= 1
        return frame

    def clear(self) -> None:
        self._table.present[self._row] = False
        self._table.depth[self._row] = 0

    def _cell(self, timestamp: int) -> int:
        table, row = self._table, self._row
        frame, within = divmod((timestamp - table.cursor.item(row)) & MASK, FRAME_BYTES)
        return (table.head.item(row) + frame) % RING if frame < RING and not within else -1
