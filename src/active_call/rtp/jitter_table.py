"""The jitter buffers of many streams as arrays: packets that are simply the next ones, and the frame of a tick, for all streams at once.

Rows of packets enter, rows of frames leave. A row is a stream. What happens rarely to a stream is done by its `jitter.JitterBuffer`, on the
same numbers; and a `JitterBuffer` that stands alone is a table of one row, so that there is one arithmetic. A property test compares both
with a buffer that is written without arrays.

Frames wait in a ring of `RING` cells a row. The cell of the cursor is `head`; the one k frames later lies k cells further on.
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
"""The deepest that a buffer becomes (400 ms) and the longest payload that a datagram can bring on top of that."""


class RowBuffer(Protocol):
    """The buffer of one row."""

    def lay(self, timestamp: int, payload: bytes) -> None:
        """Keep sound of any length."""
        ...

    def pop_rare(self, advice: Advice) -> bytes | None:
        """The frame of this tick, where it is not simply the one at the cursor."""
        ...


class JitterTable(DelayTable):
    """The columns, for `n_rows` streams; the names are those of `JitterBuffer` and `PlayoutDelay`. As there, one row may be a number."""

    def __init__(self, n_rows: int) -> None:
        super().__init__(n_rows)
        self.buffers: list[RowBuffer | None] = [None] * n_rows
        """Of each row: the buffer that does what is not simple. A new one takes the row over."""
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
        """Ticks since the first packet of the talkspurt; -1 when there is none."""

    def ahead(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers) -> Numbers:
        """How far ahead of the cursor each row's packet lies, in ticks, when it can be pushed here; -1 when its buffer must judge it."""
        ahead = (timestamp - self.cursor[rows]) & MASK
        is_simple = ((sequence - self.sequence[rows]) & 0xFFFF == 1) & (ahead < self.fast_limit[rows])
        return cast("Numbers", choose(is_simple, ahead, -1))

    def push(self, rows: RowOrRows, sequence: NumberOrNumbers, timestamp: NumberOrNumbers, arrival: TimeOrTimes) -> None:
        """Note one packet for each of `rows`, all different, whose cursor is in reach of it. Its sound is to be kept next."""
        self.received[rows] += 1
        self.sequence[rows] = sequence
        self.note_packets(rows, timestamp, arrival)

    def keep(self, rows: RowOrRows, ahead: NumberOrNumbers, frames: NDArray[np.uint8]) -> None:
        """Keep whole frames, (n, 160), whose `ahead` is a multiple of a frame. Other sound is for `RowBuffer.lay`."""
        cell = (self.head[rows] + ahead // FRAME_BYTES) % RING
        self.frames[rows, cell] = frames
        self.depth[rows] += ~self.present[rows, cell]
        self.present[rows, cell] = True

    def pop(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The frame of this tick for each of `rows`, all different, (n, 160), and where there is one. Call it once in 20 ms."""
        is_playing = self.playing[rows]
        if is_playing.all():
            return self._pop_playing(rows)
        self._start(rows[~is_playing & (self.waited[rows] >= 0)])
        playing = np.flatnonzero(self.playing[rows])
        frames, is_there = np.empty((len(rows), FRAME_BYTES), np.uint8), np.zeros(len(rows), np.bool_)
        frames[playing], is_there[playing] = self._pop_playing(rows[playing])
        return frames, is_there

    def _start(self, rows: Rows) -> None:
        """Begin to play in those of `rows` in which enough waits, or whose next packet is late by as much. All have had a packet."""
        depth, target, waited = self.depth[rows], self.target_frames[rows], self.waited[rows]
        self.playing[rows] = (depth >= target) | (waited > target - self.packet_frames[rows])
        self.waited[rows] = waited + 1

    def _pop_playing(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        head = self.head[rows]
        advice = self.advise(rows, self.depth[rows])
        frames = self.frames[rows, head]
        is_there: NDArray[np.bool_] = self.present[rows, head] & (advice == Advice.KEEP)
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
        """Take the frames at the cursor out, and move on by one."""
        self.present[rows, head] = False
        self.depth[rows] -= 1
        self.move_cursor(rows, 1)

    def move_cursor(self, rows: RowOrRows, n_frames: int) -> None:
        """Let the cursor of each row move by so many frames, back where it is negative."""
        self.head[rows] = (self.head[rows] + n_frames) % RING
        self.cursor[rows] = (self.cursor[rows] + n_frames * FRAME_BYTES) & MASK


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
        """The frame at `timestamp`, None when there is none."""
        return self._table.frames[self._row, self._cell(timestamp)].tobytes() if timestamp in self else None

    def pop(self, timestamp: int) -> bytes | None:
        """Take the frame at `timestamp` out; None when there is none."""
        frame = self.get(timestamp)
        if frame is not None:
            self._table.present[self._row, self._cell(timestamp)] = False
            self._table.depth[self._row] -= 1
        return frame

    def clear(self) -> None:
        """Take all frames out."""
        self._table.present[self._row] = False
        self._table.depth[self._row] = 0

    def _cell(self, timestamp: int) -> int:
        table, row = self._table, self._row
        frame, within = divmod((timestamp - table.cursor.item(row)) & MASK, FRAME_BYTES)
        return (table.head.item(row) + frame) % RING if frame < RING and not within else -1
