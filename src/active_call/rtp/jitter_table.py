"""The jitter buffers of many streams as arrays: packets in sequence, and the frame of a tick, for all streams at once.

Rows of packets go in, rows of frames come out. A row is a stream. Its `jitter.JitterBuffer` implements the rare operations on the same
numbers. A single `JitterBuffer` is a table of one row, so there is one arithmetic. A property test compares both with a buffer written
without arrays.

Frames are stored in a ring of `RING` cells per row. `head` is the cell of the cursor; the frame k frames later is k cells further on.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.rtp.columns import choose
from active_call.rtp.delay import MASK, Advice, DelayTable, NumberOrNumbers, Numbers, RowOrRows, Rows, TimeOrTimes

CLOCK_HZ: Final = 8000
FRAME_BYTES: Final = FRAME_MS * CLOCK_HZ // 1000
RING: Final = 40
"""The maximum depth of a buffer (400 ms) plus the longest payload of a datagram."""
_KEEP: Final = int(Advice.KEEP)
"""As a plain number, because numpy would convert the enum member in every tick."""


class RowBuffer(Protocol):
    """The buffer of one row."""

    def store(self, timestamp: int, payload: bytes) -> None:
        """Store sound of any length."""
        ...

    def pop_rare(self, advice: Advice) -> bytes | None:
        """The frame of this tick if it is not simply the one at the cursor."""
        ...


class JitterTable(DelayTable):
    """The columns for `n_rows` streams, named as in `JitterBuffer` and `PlayoutDelay`. One row may be given as a number, as there."""

    def __init__(self, n_rows: int) -> None:
        super().__init__(n_rows)
        self.buffers: list[RowBuffer | None] = [None] * n_rows
        """The buffer of each row, for the rare operations. A new one takes over the row."""
        self.frames: NDArray[np.uint8] = np.zeros((n_rows, RING, FRAME_BYTES), np.uint8)
        self.present: NDArray[np.bool_] = np.zeros((n_rows, RING), np.bool_)
        self.head: Rows = np.zeros(n_rows, np.intp)
        self.depth: Numbers = np.zeros(n_rows, np.int64)
        self.received: Numbers = np.zeros(n_rows, np.int64)
        self.sequence: Numbers = np.full(n_rows, -1)
        self.cursor: Numbers = np.zeros(n_rows, np.int64)
        self.fast_limit: Numbers = np.zeros(n_rows, np.int64)
        """A packet in sequence that is less far ahead of the cursor than this needs no further check."""
        self.playing: NDArray[np.bool_] = np.zeros(n_rows, np.bool_)
        self.waited: Numbers = np.full(n_rows, -1)
        """Ticks since the first packet of the talkspurt; -1 without one."""

    def ahead(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers) -> Numbers:
        """How far each row's packet is ahead of the cursor, in ticks, if it can be pushed here; -1 if its buffer must handle it."""
        ahead = (timestamp - self.cursor[rows]) & MASK
        is_simple = ((sequence - self.sequence[rows]) & 0xFFFF == 1) & (ahead < self.fast_limit[rows])
        return cast("Numbers", choose(is_simple, ahead, -1))

    def push(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers, arrival: TimeOrTimes) -> None:
        """Record one packet for each of `rows` (distinct), whose cursor can reach it. Its sound must be stored next."""
        self.received[rows] += 1
        self.sequence[rows] = sequence
        self.note_packets(rows, timestamp, arrival)

    def keep(self, rows: RowOrRows, ahead: NumberOrNumbers, frames: NDArray[np.uint8]) -> None:
        """Store whole frames, (n, 160), with `ahead` a multiple of a frame. Use `RowBuffer.store` for other sound."""
        cell = (self.head[rows] + ahead // FRAME_BYTES) % RING
        self.frames[rows, cell] = frames
        self.depth[rows] += ~self.present[rows, cell]
        self.present[rows, cell] = True

    def pop(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The frame of this tick for each of `rows` (distinct), (n, 160), and whether there is one. Call once per 20 ms."""
        is_playing = self.playing[rows]
        if is_playing.all():
            return self._pop_playing(rows)
        self._start(rows[~is_playing & (self.waited[rows] >= 0)])
        playing = np.flatnonzero(self.playing[rows])
        frames, is_there = np.empty((len(rows), FRAME_BYTES), np.uint8), np.zeros(len(rows), np.bool_)
        frames[playing], is_there[playing] = self._pop_playing(rows[playing])
        return frames, is_there

    def _start(self, rows: Rows) -> None:
        """Start playing those of `rows` that have enough frames or whose next packet is late by as much. All have received a packet."""
        depth, target, waited = self.depth[rows], self.target_frames[rows], self.waited[rows]
        self.playing[rows] = (depth >= target) | (waited > target - self.packet_frames[rows])
        self.waited[rows] = waited + 1

    def _pop_playing(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        head = self.head[rows]
        advice = self.advise(rows, self.depth[rows])
        frames = self.frames[rows, head]
        is_there: NDArray[np.bool_] = self.present[rows, head] & (advice == _KEEP)
        if is_there.all():
            self._pass(rows, head)
            return frames, is_there
        self._pass(rows[is_there], head[is_there])
        for place in np.flatnonzero(~is_there).tolist():
            buffer = self.buffers[rows[place]]
            frame = buffer.pop_rare(Advice(int(advice[place]))) if buffer is not None else None
            if frame is not None:
                frames[place] = np.frombuffer(frame, np.uint8)
                is_there[place] = True
        return frames, is_there

    def _pass(self, rows: Rows, head: Rows) -> None:
        """Remove the frames at the cursor, and advance by one."""
        self.present[rows, head] = False
        self.depth[rows] -= 1
        self.move_cursor(rows, 1)

    def move_cursor(self, rows: RowOrRows, n_frames: int) -> None:
        """Move the cursor of each row by `n_frames`, backwards if negative."""
        self.head[rows] = (self.head[rows] + n_frames) % RING
        self.cursor[rows] = (self.cursor[rows] + n_frames * FRAME_BYTES) & MASK


class RowFrames:
    """The stored frames of one row, by timestamp. A timestamp before the cursor, off the grid or beyond the ring has no cell."""

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
        """The frame at `timestamp`, None if there is none."""
        return self._table.frames[self._row, self._cell(timestamp)].tobytes() if timestamp in self else None

    def pop(self, timestamp: int) -> bytes | None:
        """Remove and return the frame at `timestamp`; None if there is none."""
        frame = self.get(timestamp)
        if frame is not None:
            self._table.present[self._row, self._cell(timestamp)] = False
            self._table.depth[self._row] -= 1
        return frame

    def clear(self) -> None:
        """Remove all frames."""
        self._table.present[self._row] = False
        self._table.depth[self._row] = 0

    def _cell(self, timestamp: int) -> int:
        table, row = self._table, self._row
        frame, within = divmod((timestamp - table.cursor.item(row)) & MASK, FRAME_BYTES)
        return (table.head.item(row) + frame) % RING if frame < RING and not within else -1
