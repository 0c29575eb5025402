"""The jitter buffer of one stream: packets go in as they arrive, 20 ms frames come out in order, one per tick.

It is for formats with one payload byte per timestamp tick (G.711, G.722): a frame is 160 bytes, and packets of any duration are split and
joined on the frame grid. It knows no keys, no codec arithmetic and no clock; the caller passes arrival times.

Its numbers are in a row of a `jitter_table.JitterTable`, which implements the common operations for many streams at once or for one. The
rare ones are implemented here.

Theory. The cursor is the timestamp of the frame to play next. Frames are stored in a ring of cells that starts at the cursor.

| state   | entered                             | per tick                                                                        |
|---------|-------------------------------------|---------------------------------------------------------------------------------|
| idle    | start, reset, 10 ticks of nothing   | nothing; the next packet sets the cursor                                        |
| filling | with that packet                    | nothing, until `target` frames are stored or a following packet is late by as much |
| playing | after that                          | plays the frame at the cursor                                                   |

A frame that is missing while later ones are stored is lost: the cursor passes it. If the buffer is empty, the cursor stops: packets that
were only delayed are then played completely, with the delay increased by what the network needed. If they turn out to be lost, the cursor
skips the ticks that have passed meanwhile. `delay` defines how long packets wait. A delay that is too long is reduced by dropping a silent
frame, finally any frame. One that is too short is lengthened by a tick without a frame, before a silent one, finally before any.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.rtp.columns import Cell
from active_call.rtp.delay import (
    HALF,
    IDLE_AFTER,
    MASK,
    MAX_AHEAD_MS,
    MAX_DEPTH_MS,
    MAX_SEQUENCE_STEP,
    MAX_TARGET,
    Advice,
    PlayoutDelay,
)
from active_call.rtp.jitter_table import CLOCK_HZ, FRAME_BYTES, JitterTable, RowFrames

_MAX_AHEAD: Final = MAX_AHEAD_MS * CLOCK_HZ // 1000
_MAX_DEPTH: Final = MAX_DEPTH_MS * CLOCK_HZ // 1000


class JitterBuffer(PlayoutDelay):
    """One stream's buffer, in a row of `table` if given. `silence` pads incomplete frames; a frame of `quiet` bytes is a pause.

    Counters: `received` packets; `lost` ones, missing by sequence number so far, in `loss_runs`; `late` and `duplicate` ones, which were
    discarded; `concealed` ticks in which sound was due and missing; `dropped` frames and `stretched` ticks to correct the delay.
    """

    __slots__ = ("_frames", "_partial", "_quiet", "_silence", "_stalled", "concealed", "dropped", "duplicate", "late", "stretched")

    table: JitterTable
    received = Cell[int]()
    _cursor = Cell[int]()
    _fast_limit = Cell[int]()
    _sequence = Cell[int]()
    _playing = Cell[bool]()
    _waited = Cell[int]()

    def __init__(self, table: JitterTable | None = None, row: int = 0, *, silence: int = 0xFF, quiet: bytes = b"") -> None:
        table = table or JitterTable(1)
        table.buffers[row] = self
        super().__init__(CLOCK_HZ, table, row)
        self._frames = RowFrames(table, row)
        self._partial: dict[int, dict[int, bytes]] = {}
        self.use_codec(silence, quiet)
        self.received = self.late = self.duplicate = 0
        self.concealed = self.dropped = self.stretched = 0
        self.reset()

    def leave_table(self) -> None:
        """Move to its own table, because another buffer takes over its row."""
        before, row = self.table, self.row
        table = JitterTable(1)
        for name, column in vars(table).items():
            column[0] = getattr(before, name)[row]
        self.table, self.row = table, 0
        self._frames = RowFrames(table, 0)

    def use_codec(self, silence: int, quiet: bytes) -> None:
        """Set the silence byte and the quiet bytes of a new payload format."""
        self._silence = bytes([silence]) * FRAME_BYTES
        self._quiet = quiet or bytes([silence])

    def reset(self) -> None:
        """Clear the stored packets and the measured delays, because the source has changed. The counters stay."""
        self._forget_network()
        self._sequence = -1
        self._go_idle()

    @property
    def depth(self) -> int:
        """Number of whole frames stored."""
        return len(self._frames)

    def push(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take one packet that arrived at `arrival` (seconds)."""
        table, row = self.table, self.row
        ahead = int(table.ahead(row, sequence, timestamp))
        if ahead < 0:
            if not self._admit(sequence, timestamp, payload, arrival):
                self.received += 1
                return
            ahead = (timestamp - self._cursor) & MASK
        table.push(row, sequence, timestamp, arrival)
        if ahead % FRAME_BYTES or len(payload) != FRAME_BYTES:
            self.store(timestamp, payload)
        else:
            table.keep(row, ahead, np.frombuffer(payload, np.uint8))

    def note_other(self, sequence: int) -> None:
        """Record a packet of this source that is not sound (an event, comfort noise), so that it does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1, sequence)
            self._sequence = sequence
        else:
            self._note_found(sequence)

    def pop(self) -> bytes | None:
        """The frame of this tick, None if there is none to play (lost, late or silent). Call once per 20 ms."""
        frames, is_there = self.table.pop(np.array([self.row]))
        return frames[0].tobytes() if is_there[0] else None

    def pop_rare(self, advice: Advice) -> bytes | None:
        """The frame of a tick in which the delay must be corrected or no frame is at the cursor. Called by the table."""
        match advice:
            case Advice.KEEP:
                pass
            case Advice.SHORTEN_SILENCE | Advice.SHORTEN_ANY:
                self._shorten(is_forced=advice is Advice.SHORTEN_ANY)
            case Advice.LENGTHEN_SILENCE | Advice.LENGTHEN_ANY:
                due = self._frames.get(self._cursor)
                is_silent = due is not None and not due.strip(self._quiet)
                if is_silent or (due is not None and advice is Advice.LENGTHEN_ANY):
                    self.stretched += 1
                    self.corrected()
                    return due if is_silent else None  # play a silent frame twice; nothing is concealed in a pause
        frame = self._frames.pop(self._cursor)
        if frame is None:
            return self._conceal()
        self._move_cursor(1)
        return frame

    # -- packets that are not in sequence --------------------------------------------------------------------------------------------------

    def _admit(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> bool:
        """Handle a packet that is not in sequence, or for which the cursor must move first. False if it is finished."""
        step = (sequence - self._sequence) & 0xFFFF
        is_new = self._sequence < 0 or MAX_SEQUENCE_STEP < step < 0x10000 - MAX_SEQUENCE_STEP
        if is_new:
            self._missing.clear()
            self._begin(timestamp, arrival)
            return True
        if step == 0:
            self.duplicate += 1
            return False
        if step >= 0x8000:
            self._admit_old(sequence, timestamp, payload, arrival)
            return False
        self._note_missing(step - 1, sequence)
        if self._waited < 0:
            self._begin(timestamp, arrival)
            return True
        if self._stalled:
            self._skip_stalled(timestamp)
        self._admit_ahead(timestamp, len(payload), arrival)
        return True

    def _admit_ahead(self, timestamp: int, size: int, arrival: float) -> None:
        """Move the cursor into reach of a packet whose sequence number is higher than all before."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead >= HALF:
            if (1 << 32) - ahead >= size:  # higher number, earlier timestamp: the sender has reset its clock
                self._begin(timestamp, arrival)
        elif ahead >= _MAX_AHEAD:
            self._begin(timestamp, arrival)
        elif ahead >= _MAX_DEPTH:
            self._catch_up(timestamp)
        elif not self.depth and not self._partial:
            self._cursor = (self._cursor + ahead % FRAME_BYTES) & MASK

    def _admit_old(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take an overtaken packet if its playout time has not passed."""
        is_filling = not self._playing and self._waited >= 0
        if timestamp in self._frames or (sequence not in self._missing and not is_filling):
            self.duplicate += 1
            return
        self._note_overtaken(sequence, timestamp, arrival)
        behind = (self._cursor - timestamp) & MASK
        if behind >= HALF and (1 << 32) - behind >= _MAX_DEPTH:
            self.late += 1  # an old number with an unrelated timestamp
            return
        if not self._playing and self._waited >= 0 and 0 < behind <= MAX_TARGET * FRAME_BYTES:
            self._move_cursor(-((behind + FRAME_BYTES - 1) // FRAME_BYTES))
        elif self._waited < 0 or len(payload) <= behind < HALF:
            self.late += 1
            return
        self.store(timestamp, payload)

    def store(self, timestamp: int, payload: bytes) -> None:
        """Store a payload of any length on the frame grid, without what is before the cursor. The packet has been recorded."""
        size = len(payload)
        self._set_packet_frames(max(1, size // FRAME_BYTES))
        behind = (self._cursor - timestamp) & MASK
        position = behind if behind < HALF else 0
        while position < size:
            within = ((timestamp + position - self._cursor) & MASK) % FRAME_BYTES
            cell = (timestamp + position - within) & MASK
            piece = payload[position : position + FRAME_BYTES - within]
            position += len(piece)
            if len(piece) == FRAME_BYTES:
                self._frames[cell] = piece
                continue
            if cell not in self._partial:
                self._drop_passed_pieces()
            pieces = self._partial.setdefault(cell, {})
            pieces[within] = piece
            if sum(map(len, pieces.values())) >= FRAME_BYTES:
                self._frames[cell] = self._join(self._partial.pop(cell))

    def _drop_passed_pieces(self) -> None:
        """Drop the pieces behind the cursor: a whole frame was there too, and was played."""
        for cell in [cell for cell in self._partial if (cell - self._cursor) & MASK >= HALF]:
            del self._partial[cell]

    def _join(self, pieces: dict[int, bytes]) -> bytes:
        frame = bytearray(self._silence)
        for within, piece in pieces.items():
            frame[within : within + len(piece)] = piece
        return bytes(frame)

    # -- the cursor ------------------------------------------------------------------------------------------------------------------------

    def _move_cursor(self, n_frames: int) -> None:
        self.table.move_cursor(self.row, n_frames)

    def _give_up_frame(self) -> None:
        """Skip the frame at the cursor without playing it."""
        self.dropped += self._frames.pop(self._cursor) is not None
        self._partial.pop(self._cursor, None)
        self._move_cursor(1)

    def _go_idle(self) -> None:
        self._frames.clear()
        self._partial.clear()
        self._playing = False
        self._waited = -1
        self._stalled = 0
        self._cursor = 0
        self._fast_limit = 0
        self._begin_measuring(0, 0.0)

    def _begin(self, timestamp: int, arrival: float) -> None:
        """Start a talkspurt with the packet at hand."""
        self._go_idle()
        self._begin_measuring(timestamp, arrival)
        self._waited = 0
        self._cursor = timestamp
        self._fast_limit = _MAX_DEPTH

    def _conceal(self) -> bytes | None:
        """No whole frame is at the cursor: play an incomplete one, pass a lost frame, or stop the cursor."""
        pieces = self._partial.pop(self._cursor, None)
        if pieces is not None:
            self._move_cursor(1)
            return self._join(pieces)
        self._drop_passed_pieces()
        if self.depth or self._partial:
            self._move_cursor(1)
            self.concealed += 1
            return None
        self._stalled += 1
        self._fast_limit = 0
        if self._stalled >= IDLE_AFTER:
            self._go_idle()  # no sound was due: the sender pauses
        return None

    def _skip_stalled(self, timestamp: int) -> None:
        """Sound arrives after `_stalled` empty ticks: skip the frames that were lost in them, no more."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead < HALF:
            for _ in range(min(ahead // FRAME_BYTES, self._stalled)):
                self._give_up_frame()
        self.concealed += self._stalled
        self._stalled = 0
        self._fast_limit = _MAX_DEPTH

    def _catch_up(self, timestamp: int) -> None:
        """Too many frames are stored: keep the newest `target_frames`, including the frame at `timestamp`."""
        distance = ((timestamp - self._cursor) & MASK) // FRAME_BYTES - self.target_frames + 1
        for _ in range(distance):
            self._give_up_frame()

    def _shorten(self, *, is_forced: bool) -> None:
        """Drop the frame at the cursor if it is missing or silent, or if the delay has been too long for FORCE_AFTER ticks."""
        frame = self._frames.get(self._cursor)
        if frame is None or is_forced or not frame.strip(self._quiet):
            self._give_up_frame()
            self.corrected()
