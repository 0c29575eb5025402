"""The jitter buffer of one stream: packets as they arrive enter, 20 ms frames in order leave, one per tick.

It serves formats with one payload byte per timestamp tick (G.711, G.722): a frame is 160 bytes and packets of any duration are cut and
joined on the frame grid. It knows no keys, no codec arithmetic and no clock; arrival times are handed in.

Theory. The cursor is the timestamp of the frame to play next. Frames wait in a dictionary under their 32-bit timestamps, so that both sides
of the common case are one look-up.

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

from active_call.base.pcm import FRAME_MS
from active_call.rtp.delay import (
    ADJUST_AFTER,
    DRIFT_LEAK_S,
    FORCE_AFTER,
    HALF,
    IDLE_AFTER,
    MASK,
    MAX_AHEAD_MS,
    MAX_DEPTH_MS,
    MAX_SEQUENCE_STEP,
    PEAK_DECAY,
    PlayoutDelay,
)

_CLOCK_HZ = 8000


class JitterBuffer(PlayoutDelay):
    """One stream's buffer. `silence` fills what is missing of a frame; a frame made only of `quiet` bytes is a pause.

    Counters: `received` packets; `lost` by their numbers and not come so far, in `loss_runs`; `late` and `duplicate` ones, thrown away;
    `concealed` ticks in which sound was due and missing; `dropped` frames given up, and `stretched` ticks inserted, to mend the delay.
    """

    __slots__ = (
        "_cursor",
        "_fast_limit",
        "_frame_bytes",
        "_frames",
        "_max_ahead",
        "_max_depth",
        "_partial",
        "_playing",
        "_quiet",
        "_sequence",
        "_silence",
        "_stalled",
        "_waited",
        "concealed",
        "dropped",
        "duplicate",
        "late",
        "received",
        "stretched",
    )

    def __init__(self, frame_ms: int = FRAME_MS, *, silence: int = 0xFF, quiet: bytes = b"") -> None:
        super().__init__(_CLOCK_HZ, frame_ms)
        self._frame_bytes = frame_ms * _CLOCK_HZ // 1000
        self._max_ahead = MAX_AHEAD_MS * _CLOCK_HZ // 1000
        self._max_depth = MAX_DEPTH_MS // frame_ms
        self._frames: dict[int, bytes] = {}
        self._partial: dict[int, dict[int, bytes]] = {}
        self._cursor = self._fast_limit = 0
        self.use_codec(silence, quiet)
        self.received = self.late = self.duplicate = 0
        self.concealed = self.dropped = self.stretched = 0
        self.reset()

    def use_codec(self, silence: int, quiet: bytes) -> None:
        """Say which byte is silence and which bytes are quiet, when the payload format changes."""
        self._silence = bytes([silence]) * self._frame_bytes
        self._quiet = quiet or bytes([silence])

    def reset(self) -> None:
        """Forget what waits and what is known of the network: another source sends. The counters stay."""
        self._forget_network()
        self._sequence = -1
        self._go_idle()

    @property
    def depth(self) -> int:
        """Whole frames waiting."""
        return len(self._frames)

    def push(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take one packet that arrived at `arrival` (seconds)."""
        self.received += 1
        ahead = (timestamp - self._cursor) & MASK
        if (sequence - self._sequence) & 0xFFFF != 1 or ahead >= self._fast_limit:
            if not self._admit(sequence, timestamp, payload, arrival):
                return
            ahead = (timestamp - self._cursor) & MASK
        lateness = self._lateness + arrival - self._arrival - ((timestamp - self._timestamp) & MASK) / _CLOCK_HZ - DRIFT_LEAK_S
        self._sequence = sequence
        self._arrival = arrival
        self._timestamp = timestamp
        self._lateness = lateness if lateness > 0.0 else 0.0
        if lateness > self._peak:
            self._note_peak(lateness)
        else:
            self._peak *= PEAK_DECAY
            if not self.received & 63:
                self._set_target()
        if ahead % self._frame_bytes or len(payload) != self._frame_bytes:
            self._push_pieces(timestamp, payload)
        else:
            self._frames[timestamp] = payload

    def pass_over(self, sequence: int) -> None:
        """Note a packet of this source that is not sound (an event, comfort noise), so that its number does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1)
            self._sequence = sequence

    def pop(self) -> bytes | None:
        """Return the frame of this tick, None when there is none to play: lost, late or silent. Call it once in 20 ms."""
        if not self._playing and not self._may_start():
            return None
        frames = self._frames
        depth = len(frames)
        if depth > self.target_frames:
            self._shortage = 0
            self._excess += 1
            if self._excess > ADJUST_AFTER:
                self._shorten(depth)
        else:
            self._excess = 0
            if depth == self.target_frames:
                self._shortage = 0
            else:
                self._shortage += 1
                if self._shortage > ADJUST_AFTER and self._lengthen(depth):
                    due = frames[self._cursor]
                    return None if due.strip(self._quiet) else due  # a silent one sounds twice; nothing is made up in a pause
        cursor = self._cursor
        frame = frames.pop(cursor, None)
        if frame is None:
            return self._conceal()
        self._cursor = (cursor + self._frame_bytes) & MASK
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
        elif ahead >= self._max_ahead:
            self._begin(timestamp, arrival)
        elif ahead >= self._max_depth * self._frame_bytes:
            self._catch_up(timestamp)
        elif not self._frames and not self._partial:
            self._cursor = (self._cursor + ahead % self._frame_bytes) & MASK

    def _admit_old(self, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take a packet that others have overtaken, if its turn has not passed."""
        if timestamp in self._frames:
            self.duplicate += 1
            return
        self._note_overtaken(timestamp, arrival)
        behind = (self._cursor - timestamp) & MASK
        if behind >= HALF and (1 << 32) - behind >= self._max_depth * self._frame_bytes:
            self.late += 1  # an old number with a stamp from nowhere
            return
        if not self._playing and self._waited >= 0 and 0 < behind <= self._max_target * self._frame_bytes:
            self._cursor = (self._cursor - (behind + self._frame_bytes - 1) // self._frame_bytes * self._frame_bytes) & MASK
        elif self._waited < 0 or len(payload) <= behind < HALF:
            self.late += 1
            return
        self._push_pieces(timestamp, payload)

    def _push_pieces(self, timestamp: int, payload: bytes) -> None:
        """Lay a payload of any length on the frame grid; what lies before the cursor is left out."""
        size, frame_bytes = len(payload), self._frame_bytes
        self._set_packet_frames(max(1, size // frame_bytes))
        behind = (self._cursor - timestamp) & MASK
        position = behind if behind < HALF else 0
        while position < size:
            within = ((timestamp + position - self._cursor) & MASK) % frame_bytes
            cell = (timestamp + position - within) & MASK
            piece = payload[position : position + frame_bytes - within]
            position += len(piece)
            if len(piece) == frame_bytes:
                self._frames[cell] = piece
                continue
            pieces = self._partial.setdefault(cell, {})
            pieces[within] = piece
            if sum(map(len, pieces.values())) >= frame_bytes:
                self._frames[cell] = self._join(self._partial.pop(cell))

    def _join(self, pieces: dict[int, bytes]) -> bytes:
        frame = bytearray(self._silence)
        for within, piece in pieces.items():
            frame[within : within + len(piece)] = piece
        return bytes(frame)

    # -- the cursor ------------------------------------------------------------------------------------------------------------------------

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
        self._fast_limit = self._max_depth * self._frame_bytes

    def _may_start(self) -> bool:
        if self._waited < 0:
            return False
        self._playing = len(self._frames) >= self.target_frames or self._waited > self.target_frames - self._packet_frames
        self._waited += 1
        return self._playing

    def _conceal(self) -> bytes | None:
        """Nothing whole is at the cursor: play a piece, pass a lost frame, or stand still."""
        cursor = self._cursor
        pieces = self._partial.pop(cursor, None)
        if pieces is not None:
            self._cursor = (cursor + self._frame_bytes) & MASK
            return self._join(pieces)
        if self._frames or self._partial:
            self._cursor = (cursor + self._frame_bytes) & MASK
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
            self._cursor = (self._cursor + min(ahead // self._frame_bytes, self._stalled) * self._frame_bytes) & MASK
        self.concealed += self._stalled
        self._stalled = 0
        self._fast_limit = self._max_depth * self._frame_bytes

    def _catch_up(self, timestamp: int) -> None:
        """Too much waits: keep the newest `target_frames`, counting the frame at `timestamp`."""
        distance = ((timestamp - self._cursor) & MASK) // self._frame_bytes - self.target_frames + 1
        for _ in range(distance):
            self.dropped += self._frames.pop(self._cursor, None) is not None
            self._partial.pop(self._cursor, None)
            self._cursor = (self._cursor + self._frame_bytes) & MASK

    # -- the delay -------------------------------------------------------------------------------------------------------------------------

    def _shorten(self, depth: int) -> None:
        """Leave out the frame at the cursor when it is missing anyway or silent, or when the delay has been too long for too long."""
        frame = self._frames.get(self._cursor)
        if frame is None or self._excess * (depth - self.target_frames) > FORCE_AFTER or not frame.strip(self._quiet):
            self.dropped += self._frames.pop(self._cursor, None) is not None
            self._partial.pop(self._cursor, None)
            self._cursor = (self._cursor + self._frame_bytes) & MASK
            self._excess = 0

    def _lengthen(self, depth: int) -> bool:
        """Insert a tick before a silent frame, or before any that is there when the delay has been too short for too long."""
        frame = self._frames.get(self._cursor)
        is_forced = self._shortage * (self.target_frames - depth) > FORCE_AFTER
        if frame is None or (not is_forced and frame.strip(self._quiet)):
            return False
        self.stretched += 1
        self._shortage = 0
        return True
