"""The jitter buffer of one stream: packets as they arrive enter, 20 ms frames in order leave, one per tick.

It serves formats with one payload byte per timestamp tick (G.711, G.722): a frame is 160 bytes and packets of any duration are cut and
joined on the frame grid. It knows no keys, no codec arithmetic and no clock; arrival times are handed in.

Its numbers lie in a row of a `jitter_table.JitterTable`, which does what is common, for many streams at once or for this one alone. What
is rare is done here.

Theory. The cursor is the timestamp of the frame to play next. Frames wait in a ring of cells that begins at the cursor.

| state   | entered by                          | a tick does                                                                     |
|---------|-------------------------------------|---------------------------------------------------------------------------------|
| idle    | start, reset, 10 ticks of nothing   | nothing; the next packet sets the cursor                                        |
| filling | that packet                         | nothing, until `target` frames wait, or a next packet is late by as much        |
| playing | either                              | plays the frame at the cursor                                                   |

A frame missing while later ones wait is lost: the cursor passes it. When nothing waits at all, the cursor stands still: packets that were
only delayed are then played whole, and the delay has grown by what the network needed; if they turn out to be lost, the cursor skips the
ticks that have passed meanwhile. How long packets wait is the policy of `delay`: too long a delay is taken back by leaving out a silent
frame, at last any frame; too short a one is lengthened by a tick without a frame before a silent one, at last before any.
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
    """One stream's buffer, in a row of `table` if it is given. `silence` fills what is missing of a frame; one of `quiet` bytes is a pause.

    Counters: `received` packets; `lost` by their numbers and not come so far, in `loss_runs`; `late` and `duplicate` ones, thrown away;
    `concealed` ticks in which sound was due and missing; `dropped` frames given up, and `stretched` ticks inserted, to mend the delay.
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
        """Move to a table of its own, because another buffer takes over its row."""
        before, row = self.table, self.row
        table = JitterTable(1)
        for name, column in vars(table).items():
            column[0] = getattr(before, name)[row]
        self.table, self.row = table, 0
        self._frames = RowFrames(table, 0)

    def use_codec(self, silence: int, quiet: bytes) -> None:
        """Say which byte is silence and which bytes are quiet, when the payload format changes."""
        self._silence = bytes([silence]) * FRAME_BYTES
        self._quiet = quiet or bytes([silence])

    def reset(self) -> None:
        """Forget the waiting packets and the measured delays, because the source has changed. The counters stay."""
        self._forget_network()
        self._sequence = -1
        self._go_idle()

    @property
    def depth(self) -> int:
        """Whole frames waiting."""
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
            self.lay(timestamp, payload)
        else:
            table.keep(row, ahead, np.frombuffer(payload, np.uint8))

    def pass_over(self, sequence: int) -> None:
        """Note a packet of this source that is not sound (an event, comfort noise), so that its number does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1)
            self._sequence = sequence

    def pop(self) -> bytes | None:
        """Return the frame of this tick, None when there is none to play: lost, late or silent. Call it once in 20 ms."""
        frames, is_there = self.table.pop(np.array([self.row]))
        return frames[0].tobytes() if is_there[0] else None

    def pop_rare(self, advice: Advice) -> bytes | None:
        """The frame of a tick in which the delay is to be corrected, or nothing waits at the cursor. For the table."""
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
                    return due if is_silent else None  # a silent one sounds twice; nothing is made up in a pause
        frame = self._frames.pop(self._cursor)
        if frame is None:
            return self._conceal()
        self._move_cursor(1)
        return frame

    # -- packets that are not simply the next one ------------------------------------------------------------------------------------------

    def _admit(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> bool:
        """Judge a packet that is not the expected one, or for which the cursor must move first. False: it has been dealt with."""
        step = (sequence - self._sequence) & 0xFFFF
        is_new = self._sequence < 0 or MAX_SEQUENCE_STEP < step < 0x10000 - MAX_SEQUENCE_STEP
        if is_new:
            self._begin(timestamp, arrival)
            return True
        if step == 0:
            self.duplicate += 1
            return False
        if step >= 0x8000:
            self._admit_old(timestamp, payload, arrival)
            return False
        self._note_missing(step - 1)
        if self._waited < 0:
            self._begin(timestamp, arrival)
            return True
        if self._stalled:
            self._skip_stalled(timestamp)
        self._admit_ahead(timestamp, len(payload), arrival)
        return True

    def _admit_ahead(self, timestamp: int, size: int, arrival: float) -> None:
        """Bring the cursor into reach of a packet whose number is higher than all before."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead >= HALF:
            if (1 << 32) - ahead >= size:  # numbered later, stamped earlier: the sender's clock was set anew
                self._begin(timestamp, arrival)
        elif ahead >= _MAX_AHEAD:
            self._begin(timestamp, arrival)
        elif ahead >= _MAX_DEPTH:
            self._catch_up(timestamp)
        elif not self.depth and not self._partial:
            self._cursor = (self._cursor + ahead % FRAME_BYTES) & MASK

    def _admit_old(self, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take a packet that others have overtaken, if its turn has not passed."""
        if timestamp in self._frames:
            self.duplicate += 1
            return
        self._note_overtaken(timestamp, arrival)
        behind = (self._cursor - timestamp) & MASK
        if behind >= HALF and (1 << 32) - behind >= _MAX_DEPTH:
            self.late += 1  # an old number with a stamp from nowhere
            return
        if not self._playing and self._waited >= 0 and 0 < behind <= MAX_TARGET * FRAME_BYTES:
            self._move_cursor(-((behind + FRAME_BYTES - 1) // FRAME_BYTES))
        elif self._waited < 0 or len(payload) <= behind < HALF:
            self.late += 1
            return
        self.lay(timestamp, payload)

    def lay(self, timestamp: int, payload: bytes) -> None:
        """Lay a payload of any length on the frame grid; what lies before the cursor is left out. The packet has been noted."""
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
            pieces = self._partial.setdefault(cell, {})
            pieces[within] = piece
            if sum(map(len, pieces.values())) >= FRAME_BYTES:
                self._frames[cell] = self._join(self._partial.pop(cell))

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
        """Nothing whole is at the cursor: play a piece, pass a lost frame, or stand still."""
        pieces = self._partial.pop(self._cursor, None)
        if pieces is not None:
            self._move_cursor(1)
            return self._join(pieces)
        if self.depth or self._partial:
            self._move_cursor(1)
            self.concealed += 1
            return None
        self._stalled += 1
        self._fast_limit = 0
        if self._stalled >= IDLE_AFTER:
            self._go_idle()  # nothing was due: the sender pauses
        return None

    def _skip_stalled(self, timestamp: int) -> None:
        """Sound comes again after `_stalled` ticks of nothing: pass the frames that were lost in them, no more."""
        ahead = (timestamp - self._cursor) & MASK
        if ahead < HALF:
            for _ in range(min(ahead // FRAME_BYTES, self._stalled)):
                self._give_up_frame()
        self.concealed += self._stalled
        self._stalled = 0
        self._fast_limit = _MAX_DEPTH

    def _catch_up(self, timestamp: int) -> None:
        """Too much waits: keep the newest `target_frames`, counting the frame at `timestamp`."""
        distance = ((timestamp - self._cursor) & MASK) // FRAME_BYTES - self.target_frames + 1
        for _ in range(distance):
            self._give_up_frame()

    def _shorten(self, *, is_forced: bool) -> None:
        """Leave out the frame at the cursor when it is missing anyway or silent, or when the delay has been too long for too long."""
        frame = self._frames.get(self._cursor)
        if frame is None or is_forced or not frame.strip(self._quiet):
            self._give_up_frame()
            self.corrected()
