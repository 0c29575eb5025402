"""The jitter buffer and the reception statistics of one stream, written without arrays.

The tables of `active_call.rtp` are compared with them. They share its constants, and none of its arithmetic.
"""

from __future__ import annotations

from math import ceil

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
    MAX_MISSING,
    MAX_SEQUENCE_STEP,
    MAX_TARGET_MS,
    PEAK_DECAY,
    PEAK_IGNORED_S,
    Advice,
)
from active_call.rtp.jitter_table import CLOCK_HZ, FRAME_BYTES, RING
from active_call.rtp.reception_table import JITTER_GAIN, MAX_DROPOUT, SEQUENCES
from active_call.rtp.rtcp import ReportBlock
from active_call.rtp.stream import MAX_MISORDER

_FIRST_PEAK_S = 0.020
_OVERTAKEN_WEIGHT = 0.125
_MAX_AHEAD = MAX_AHEAD_MS * CLOCK_HZ // 1000
_MAX_DEPTH = MAX_DEPTH_MS * CLOCK_HZ // 1000
_NO_SEQUENCE = SEQUENCES + 1


class _ScalarDelay:
    """The delay of one stream. `clock_hz` is that of its timestamps."""

    def __init__(self, clock_hz: int, frame_ms: int) -> None:
        self._clock_hz = clock_hz
        self._frame_s = frame_ms / 1000
        self._max_target = MAX_TARGET_MS // frame_ms
        self.lost = self.loss_runs = self._last_run = 0
        self._missing: list[int] = []
        self._forget_network()

    def _forget_network(self) -> None:
        """Another source sends: nothing is known of its way."""
        self._missing.clear()
        self._peak = _FIRST_PEAK_S
        self._packet_frames = 1
        self._set_target()
        self._begin_measuring(0, 0.0)

    def _begin_measuring(self, timestamp: int, arrival: float) -> None:
        """A talkspurt begins with this packet: it is the fastest one."""
        self._timestamp = timestamp
        self._arrival = arrival
        self._lateness = 0.0
        self._excess = self._shortage = 0

    def note_packet(self, timestamp: int, arrival: float) -> None:
        """A packet with a higher number than all before has come at `arrival` (seconds)."""
        lateness = self._lateness + arrival - self._arrival - ((timestamp - self._timestamp) & MASK) / self._clock_hz - DRIFT_LEAK_S
        self._arrival = arrival
        self._timestamp = timestamp
        self._lateness = lateness if lateness > 0.0 else 0.0
        if lateness > self._peak:
            self._note_peak(lateness)
        else:
            self._peak *= PEAK_DECAY
            self._set_target()

    def _note_missing(self, n_packets: int, sequence: int) -> None:
        """So many numbers were left out before the packet at hand, which has this number."""
        if n_packets:
            self.lost += n_packets
            self.loss_runs += 1
            self._last_run = n_packets
            self._missing = [*self._missing, *((sequence - n_packets + index) & 0xFFFF for index in range(n_packets))][-MAX_MISSING:]

    def _note_found(self, sequence: int) -> None:
        """A packet with this number has come; perhaps it had counted as lost."""
        if sequence in self._missing:
            self._missing.remove(sequence)
            self.lost -= self.lost > 0

    def _note_overtaken(self, sequence: int, timestamp: int, arrival: float) -> None:
        """A packet of sound has come that others have overtaken."""
        self._note_found(sequence)
        if self._last_run:
            self._last_run -= 1
            self.loss_runs -= self._last_run == 0
        lateness = self._lateness + arrival - self._arrival + ((self._timestamp - timestamp) & MASK) / self._clock_hz
        self._note_peak(self._peak + (lateness - self._peak) * _OVERTAKEN_WEIGHT)

    def _note_peak(self, lateness_s: float) -> None:
        """A packet came later than expected: remember by how much, up to what the buffer would ever wait."""
        self._peak = max(self._peak, min(lateness_s, self._max_target * self._frame_s))
        self._set_target()

    def _set_packet_frames(self, n_frames: int) -> None:
        """So many frames come in one packet: at its arrival as many more wait than when it is due."""
        if n_frames != self._packet_frames:
            self._packet_frames = n_frames
            self._set_target()

    def _set_target(self) -> None:
        frames = 1 + max(0, ceil((self._peak - PEAK_IGNORED_S) / self._frame_s))
        self.target_frames = min(frames, self._max_target) + self._packet_frames - 1

    def advise(self, depth: int) -> Advice:
        """What is to be done when `depth` frames wait. Once a tick; `corrected` when it was done."""
        target = self.target_frames
        if depth > target:
            self._shortage = 0
            self._excess += 1
            if self._excess <= ADJUST_AFTER:
                return Advice.KEEP
            return Advice.SHORTEN_ANY if self._excess * (depth - target) > FORCE_AFTER else Advice.SHORTEN_SILENCE
        self._excess = 0
        if depth == target:
            self._shortage = 0
            return Advice.KEEP
        self._shortage += 1
        if self._shortage <= ADJUST_AFTER:
            return Advice.KEEP
        return Advice.LENGTHEN_ANY if self._shortage * (target - depth) > FORCE_AFTER else Advice.LENGTHEN_SILENCE

    def corrected(self) -> None:
        """The advice was followed."""
        self._excess = self._shortage = 0


class _Frames(dict[int, bytes]):
    """Frames by timestamp. A timestamp before the cursor, off its grid or beyond the ring has no place."""

    def __init__(self, buffer: ScalarJitterBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def _has_place(self, timestamp: int) -> bool:
        frame, within = divmod((timestamp - self._buffer._cursor) & MASK, FRAME_BYTES)
        return frame < RING and not within

    def __setitem__(self, timestamp: int, frame: bytes) -> None:
        if self._has_place(timestamp):
            super().__setitem__(timestamp, frame)


class ScalarJitterBuffer(_ScalarDelay):
    """One stream's buffer, in a row of `table` if it is given. `silence` fills what is missing of a frame; one of `quiet` bytes is a pause.

    Counters: `received` packets; `lost` by their numbers and not come so far, in `loss_runs`; `late` and `duplicate` ones, thrown away;
    `concealed` ticks in which sound was due and missing; `dropped` frames given up, and `stretched` ticks inserted, to mend the delay.
    """

    def __init__(self, *, silence: int = 0xFF, quiet: bytes = b"") -> None:
        super().__init__(CLOCK_HZ, FRAME_MS)
        self._frames = _Frames(self)
        self._partial: dict[int, dict[int, bytes]] = {}
        self.use_codec(silence, quiet)
        self.received = self.late = self.duplicate = 0
        self.concealed = self.dropped = self.stretched = 0
        self.reset()

    def use_codec(self, silence: int, quiet: bytes) -> None:
        """Say which byte is silence and which bytes are quiet, when the payload format changes."""
        self._silence = bytes([silence]) * FRAME_BYTES
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
        self._sequence = sequence
        self.note_packet(timestamp, arrival)
        if ahead % FRAME_BYTES or len(payload) != FRAME_BYTES:
            self.store(timestamp, payload)
        else:
            self._frames[timestamp] = payload

    def note_other(self, sequence: int) -> None:
        """Note a packet of this source that is not sound (an event, comfort noise), so that its number does not count as lost."""
        step = (sequence - self._sequence) & 0xFFFF
        if self._sequence >= 0 and 0 < step < MAX_SEQUENCE_STEP:
            self._note_missing(step - 1, sequence)
            self._sequence = sequence
        else:
            self._note_found(sequence)

    def pop(self) -> bytes | None:
        """Return the frame of this tick, None when there is none to play: lost, late or silent. Call it once in 20 ms."""
        if not self._playing and not self._may_start():
            return None
        match self.advise(self.depth):
            case Advice.KEEP:
                pass
            case Advice.SHORTEN_SILENCE | Advice.SHORTEN_ANY as advice:
                self._shorten(is_forced=advice is Advice.SHORTEN_ANY)
            case Advice.LENGTHEN_SILENCE | Advice.LENGTHEN_ANY as advice:
                due = self._frames.get(self._cursor)
                is_silent = due is not None and not due.strip(self._quiet)
                if is_silent or (due is not None and advice is Advice.LENGTHEN_ANY):
                    self.stretched += 1
                    self.corrected()
                    return due if is_silent else None  # a silent one sounds twice; nothing is made up in a pause
        frame = self._frames.pop(self._cursor, None)
        if frame is None:
            return self._conceal()
        self._move_cursor(1)
        return frame

    def _admit(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> bool:
        """Judge a packet that is not the expected one, or for which the cursor must move first. False: it has been dealt with."""
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

    def _admit_old(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take a packet that others have overtaken, if its turn has not passed."""
        is_filling = not self._playing and self._waited >= 0
        if timestamp in self._frames or (sequence not in self._missing and not is_filling):
            self.duplicate += 1
            return
        self._note_overtaken(sequence, timestamp, arrival)
        behind = (self._cursor - timestamp) & MASK
        if behind >= HALF and (1 << 32) - behind >= _MAX_DEPTH:
            self.late += 1  # an old number with a stamp from nowhere
            return
        if not self._playing and self._waited >= 0 and 0 < behind <= self._max_target * FRAME_BYTES:
            self._move_cursor(-((behind + FRAME_BYTES - 1) // FRAME_BYTES))
        elif self._waited < 0 or len(payload) <= behind < HALF:
            self.late += 1
            return
        self.store(timestamp, payload)

    def store(self, timestamp: int, payload: bytes) -> None:
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

    def _move_cursor(self, n_frames: int) -> None:
        self._cursor = (self._cursor + n_frames * FRAME_BYTES) & MASK

    def _give_up_frame(self) -> None:
        """Pass what is at the cursor without playing it."""
        self.dropped += self._frames.pop(self._cursor, None) is not None
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

    def _may_start(self) -> bool:
        if self._waited < 0:
            return False
        self._playing = self.depth >= self.target_frames or self._waited > self.target_frames - self._packet_frames
        self._waited += 1
        return self._playing

    def _conceal(self) -> bytes | None:
        """Nothing whole is at the cursor: play a piece, pass a lost frame, or stand still."""
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


class ScalarReceiveStream:
    """Statistics of what one source sends. `clock_rate` is that of its timestamps in Hz."""

    def __init__(self, ssrc: int, clock_rate: int = 8000) -> None:
        self.ssrc = ssrc
        self.received = 0
        self.clock_rate = clock_rate
        self._base_sequence = -1
        self._max_sequence = 0
        self._bad_sequence = _NO_SEQUENCE
        self._cycles = 0
        self._arrival = 0.0
        self._timestamp = 0
        self._jitter = 0.0
        self._expected_prior = 0
        self._received_prior = 0
        self._last_report_ntp = 0
        self._last_report_at = 0.0

    def receive(self, sequence: int, timestamp: int, arrival: float) -> bool:
        """Count one packet that arrived at `arrival` (seconds). False: it jumped, and is not believed before the next one follows it."""
        step = (sequence - self._max_sequence) & 0xFFFF
        if self._base_sequence < 0:
            self._restart(sequence)
        elif step < MAX_DROPOUT:
            if sequence < self._max_sequence:
                self._cycles += SEQUENCES
            self._max_sequence = sequence
        elif step <= SEQUENCES - MAX_MISORDER:
            if sequence != self._bad_sequence:
                self._bad_sequence = (sequence + 1) & 0xFFFF
                return False
            self._restart(sequence)
        if self.received:
            ticks = (timestamp - self._timestamp) & 0xFFFFFFFF
            if ticks >= 1 << 31:
                ticks -= 1 << 32
            difference = (arrival - self._arrival) * self.clock_rate - ticks
            self._jitter += ((difference if difference > 0 else -difference) - self._jitter) * JITTER_GAIN
        self.received += 1
        self._timestamp = timestamp
        self._arrival = arrival
        return True

    def _restart(self, sequence: int) -> None:
        self._base_sequence = self._max_sequence = sequence
        self._bad_sequence = _NO_SEQUENCE
        self._cycles = self.received = self._received_prior = self._expected_prior = 0
        self._jitter = 0.0

    @property
    def highest_sequence(self) -> int:
        """The extended highest sequence number received: roll-overs in the upper 16 bits."""
        return self._cycles + self._max_sequence

    @property
    def expected(self) -> int:
        """How many packets should have come."""
        return self.highest_sequence - self._base_sequence + 1 if self._base_sequence >= 0 else 0

    @property
    def lost(self) -> int:
        """Expected less received; negative when duplicates came."""
        return self.expected - self.received

    @property
    def jitter_ms(self) -> float:
        """The interarrival jitter of A.8 in milliseconds."""
        return self._jitter * 1000 / self.clock_rate

    def note_sender_report(self, ntp_time: int, arrival: float) -> None:
        """Remember the peer's sender report (64-bit NTP time) for LSR and DLSR of our next report block."""
        self._last_report_ntp = (ntp_time >> 16) & 0xFFFFFFFF
        self._last_report_at = arrival

    def take_report(self, now: float) -> ReportBlock:
        """Return the report block for this source and begin the next interval of `fraction_lost`. `now` is on the clock of `arrival`."""
        expected = self.expected
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = expected, self.received
        fraction = 0 if expected_interval <= 0 or lost_interval <= 0 else min(255, (lost_interval << 8) // expected_interval)
        delay = int((now - self._last_report_at) * 65536) if self._last_report_ntp else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction,
            cumulative_lost=max(-0x800000, min(0x7FFFFF, expected - self.received)),
            highest_sequence=self.highest_sequence & 0xFFFFFFFF,
            jitter=int(self._jitter),
            last_sender_report=self._last_report_ntp,
            delay_since_last_sender_report=max(0, min(delay, 0xFFFFFFFF)),
        )
