"""The playout delay: one policy for both jitter buffers, for single streams and for many at once.

Arrivals and timestamps go in. A target in frames comes out, and advice to shorten or lengthen the current delay. A `DelayTable` has the
numbers and the arithmetic, one row per stream. `PlayoutDelay` is one row of it: it implements the rare operations and counts packets that
are missing by their sequence numbers. Neither stores packets.

Theory. `target_frames` is one frame more than the largest recent lateness, 20 to 120 ms. Lateness is measured against the fastest packet.
Its peak halves in about seven seconds; an overtaken packet raises it only partly. A delay above the target for one second is reduced in
silence, and after five seconds (sooner if it is far off) anywhere. A delay below the target is lengthened in the same way, during sound by
a concealed frame. This also compensates clock drift of the sender.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.rtp.columns import Cell, choose, is_any, larger, smaller

MASK: Final = 0xFFFFFFFF
HALF: Final = 1 << 31
MAX_TARGET_MS: Final = 120
MAX_AHEAD_MS: Final = 1000
"""A timestamp further ahead than this starts a new timeline."""
MAX_DEPTH_MS: Final = 400
"""Maximum buffered sound: after an interruption the newest frames are played."""
MAX_SEQUENCE_STEP: Final = 1000
"""A sequence number further away than this (20 s) means that the sender has restarted."""
IDLE_AFTER: Final = 10
"""Ticks with nothing to play after which the talkspurt is over."""
PEAK_DECAY: Final = 0.998
DRIFT_LEAK_S: Final = 0.00002
"""Allowed clock drift against the fastest packet, in seconds per packet: 1000 ppm at 50 packets a second."""
ADJUST_AFTER: Final = 50
FORCE_AFTER: Final = 250
"""Ticks that the depth must differ from the target before a silent frame, or any frame, is dropped or inserted."""
_FIRST_PEAK_S: Final = 0.020
"""Yields a first target of 40 ms."""
_OVERTAKEN_WEIGHT: Final = 0.125
"""Weight of an overtaken packet's lateness in the peak: a single one does not justify a longer delay for all."""
PEAK_IGNORED_S: Final = 0.001
_FRAME_S: Final = FRAME_MS / 1000
MAX_TARGET: Final = MAX_TARGET_MS // FRAME_MS
"""In frames."""
MAX_MISSING: Final = 100
"""Missing sequence numbers that are remembered: MAX_MISORDER of RFC 3550 appendix A.1."""
_MAX_PEAK_S: Final = MAX_TARGET * _FRAME_S
_DEFAULT_CLOCK_HZ: Final = 8000

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]
RowOrRows = Rows | int
NumberOrNumbers = Numbers | int
TimeOrTimes = Seconds | float


class Advice(IntEnum):
    """What to do about the delay in this tick."""

    KEEP = 0
    SHORTEN_SILENCE = 1
    SHORTEN_ANY = 2
    LENGTHEN_SILENCE = 3
    LENGTHEN_ANY = 4


class DelayTable:
    """The delays of `n_rows` streams, as columns.

    Functions take distinct rows with arrays of the same length, or one row as a number with numbers. The arithmetic is the same; a number
    costs less than an array of one.
    """

    def __init__(self, n_rows: int) -> None:
        self.clock_hz: Numbers = np.full(n_rows, _DEFAULT_CLOCK_HZ)
        """Clock of the timestamps."""
        self.excess: Numbers = np.zeros(n_rows, np.int64)
        """Consecutive ticks with a depth above the target."""
        self.shortage: Numbers = np.zeros(n_rows, np.int64)
        """The same for a depth below the target."""
        self.timestamp: Numbers = np.zeros(n_rows, np.int64)
        """Timestamp of the newest packet; `arrival` (seconds) is also that packet's."""
        self.arrival: Seconds = np.zeros(n_rows)
        self.lateness: Seconds = np.zeros(n_rows)
        """Lateness of the newest packet against the fastest one."""
        self.peak: Seconds = np.zeros(n_rows)
        """The largest recent lateness."""
        self.packet_frames: Numbers = np.ones(n_rows, np.int64)
        self.target_frames: Numbers = np.ones(n_rows, np.int64)

    def note_packets(self, rows: RowOrRows, timestamp: NumberOrNumbers, arrival: TimeOrTimes) -> None:
        """Record one packet for each of `rows`, with a higher sequence number than all before, that arrived at `arrival` (seconds)."""
        lateness = self.lateness[rows] + arrival - self.arrival[rows]
        lateness = lateness - ((timestamp - self.timestamp[rows]) & MASK) / self.clock_hz[rows] - DRIFT_LEAK_S
        peak = self.peak[rows]
        self.arrival[rows] = arrival
        self.timestamp[rows] = timestamp
        self.lateness[rows] = larger(lateness, 0.0)
        self.set_targets(rows, choose(lateness > peak, smaller(lateness, _MAX_PEAK_S), peak * PEAK_DECAY))

    def set_targets(self, rows: RowOrRows, peak: TimeOrTimes) -> None:
        """Set `peak` for each of `rows`, and the resulting target."""
        frames = np.ceil((peak - PEAK_IGNORED_S) / _FRAME_S)
        self.peak[rows] = peak
        self.target_frames[rows] = smaller(1 + larger(frames, 0), MAX_TARGET) + self.packet_frames[rows] - 1

    def advise(self, rows: RowOrRows, depth: NumberOrNumbers) -> Numbers:
        """The `Advice` for each of `rows` with `depth` buffered frames, as numbers. Call once per tick for a playing stream."""
        target = self.target_frames[rows]
        excess = choose(depth > target, self.excess[rows] + 1, 0)
        shortage = choose(depth < target, self.shortage[rows] + 1, 0)
        self.excess[rows] = excess
        self.shortage[rows] = shortage
        is_wrong_for_long = larger(excess, shortage) > ADJUST_AFTER
        if not is_any(is_wrong_for_long):
            return cast("Numbers", is_wrong_for_long * Advice.KEEP.value)
        is_forced = (excess + shortage) * abs(depth - target) > FORCE_AFTER
        shorten = choose(is_forced, Advice.SHORTEN_ANY, Advice.SHORTEN_SILENCE)
        lengthen = choose(is_forced, Advice.LENGTHEN_ANY, Advice.LENGTHEN_SILENCE)
        return cast("Numbers", choose(is_wrong_for_long, choose(excess > 0, shorten, lengthen), Advice.KEEP))


class PlayoutDelay:
    """The delay of one stream: row `row` of `table`, or of its own table. `clock_hz` is the clock of its timestamps.

    `lost` counts packets that are missing by their sequence numbers and have not arrived so far, `loss_runs` the runs that they form.
    """

    __slots__ = ("_last_run", "_missing", "loss_runs", "lost", "row", "table")

    table: DelayTable
    target_frames = Cell[int]()
    _clock_hz = Cell[int]()
    _excess = Cell[int]()
    _shortage = Cell[int]()
    _timestamp = Cell[int]()
    _arrival = Cell[float]()
    _lateness = Cell[float]()
    _peak = Cell[float]()
    _packet_frames = Cell[int]()

    def __init__(self, clock_hz: int, table: DelayTable | None = None, row: int = 0) -> None:
        self.table = table or DelayTable(1)
        self.row = row
        self._clock_hz = clock_hz
        self.lost = self.loss_runs = self._last_run = 0
        self._missing: dict[int, None] = {}
        """The last of the missing sequence numbers, in order: what tells an overtaken packet from a late duplicate."""
        self._forget_network()

    def _forget_network(self) -> None:
        """The source has changed: reset the measured delays."""
        self._missing.clear()
        self._packet_frames = 1
        self._set_peak(_FIRST_PEAK_S)
        self._begin_measuring(0, 0.0)

    def _begin_measuring(self, timestamp: int, arrival: float) -> None:
        """A talkspurt begins with this packet, which is the fastest one so far."""
        self._timestamp = timestamp
        self._arrival = arrival
        self._lateness = 0.0
        self.corrected()

    def note_packet(self, timestamp: int, arrival: float) -> None:
        """A packet with a higher sequence number than all before arrived at `arrival` (seconds)."""
        self.table.note_packets(self.row, timestamp, arrival)

    def _note_missing(self, n_packets: int, sequence: int) -> None:
        """`n_packets` sequence numbers are missing before the packet with number `sequence`."""
        if n_packets:
            self.lost += n_packets
            self.loss_runs += 1
            self._last_run = n_packets
            missing = self._missing
            missing.update(((sequence - step) & 0xFFFF, None) for step in range(min(n_packets, MAX_MISSING), 0, -1))
            while len(missing) > MAX_MISSING:
                del missing[next(iter(missing))]

    def _note_found(self, sequence: int) -> None:
        """The packet with this number has arrived; it may have been counted as lost."""
        if sequence in self._missing:
            del self._missing[sequence]
            self.lost -= self.lost > 0

    def _note_overtaken(self, sequence: int, timestamp: int, arrival: float) -> None:
        """An overtaken packet of sound has arrived."""
        self._note_found(sequence)
        if self._last_run:
            self._last_run -= 1
            self.loss_runs -= self._last_run == 0
        lateness = self._lateness + arrival - self._arrival + ((self._timestamp - timestamp) & MASK) / self._clock_hz
        peak = self._peak
        self._set_peak(max(peak, min(peak + (lateness - peak) * _OVERTAKEN_WEIGHT, _MAX_PEAK_S)))

    def _set_packet_frames(self, n_frames: int) -> None:
        """Set the number of frames per packet: at its arrival that many more frames are buffered than when it is due."""
        if n_frames != self._packet_frames:
            self._packet_frames = n_frames
            self._set_peak(self._peak)

    def _set_peak(self, peak_s: float) -> None:
        self.table.set_targets(self.row, peak_s)

    def advise(self, depth: int) -> Advice:
        """The advice for `depth` buffered frames. Call once per tick, and `corrected` after following it."""
        if depth == self.target_frames:
            if self._excess or self._shortage:
                self.corrected()
            return Advice.KEEP
        return Advice(int(self.table.advise(self.row, depth)))

    def corrected(self) -> None:
        """The buffer has followed the advice."""
        self._excess = self._shortage = 0
