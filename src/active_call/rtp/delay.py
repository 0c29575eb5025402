"""The playout delay: one policy for both jitter buffers, for single streams and for many at once.

Arrivals and timestamps enter. A target in frames leaves, and the advice to shorten or lengthen a delay that differs from it. The numbers of
all streams lie in a `DelayTable`, a row for each stream, and the arithmetic is that of the table. `PlayoutDelay` is one row of it: it does
what happens rarely, and counts the packets that are missing by their sequence numbers. Neither holds a packet.

Theory. `target_frames` is one frame more than the largest lateness seen lately, 20 to 120 ms. Lateness is measured against the fastest
packet; its peak halves in about seven seconds, and packets that others overtook raise it only in part. A delay that was longer than the
target for a second is taken back where it is silent, after five seconds (sooner when it is far off) anywhere; one that was shorter is
lengthened in the same way, in sound by a frame that is made up. That also follows a sender whose clock drifts.
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
"""A timestamp further ahead than this is a new timeline."""
MAX_DEPTH_MS: Final = 400
"""More than this is never kept: after an interruption the newest frames are played."""
MAX_SEQUENCE_STEP: Final = 1000
"""A sequence number further away than this (20 s) is a sender that began anew."""
IDLE_AFTER: Final = 10
"""Ticks without anything to play after which the talkspurt is over."""
PEAK_DECAY: Final = 0.998
DRIFT_LEAK_S: Final = 0.00002
"""How much later than the fastest packet every packet may become without being late: 1000 ppm at 50 packets a second."""
ADJUST_AFTER: Final = 50
FORCE_AFTER: Final = 250
"""Ticks that the depth must differ from the target before a silent frame, or any frame, is given up or put in."""
_FIRST_PEAK_S: Final = 0.020
"""Makes the first target 40 ms."""
_OVERTAKEN_WEIGHT: Final = 0.125
"""How much of its lateness a packet that others overtook adds to the peak: a single one is not worth a longer delay for all."""
PEAK_IGNORED_S: Final = 0.001
_FRAME_S: Final = FRAME_MS / 1000
MAX_TARGET: Final = MAX_TARGET_MS // FRAME_MS
"""In frames."""
_MAX_PEAK_S: Final = MAX_TARGET * _FRAME_S
_DEFAULT_CLOCK_HZ: Final = 8000

Rows = NDArray[np.intp]
Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]
RowOrRows = Rows | int
NumberOrNumbers = Numbers | int
TimeOrTimes = Seconds | float


class Advice(IntEnum):
    """What is to be done about the delay in this tick."""

    KEEP = 0
    SHORTEN_SILENCE = 1
    SHORTEN_ANY = 2
    LENGTHEN_SILENCE = 3
    LENGTHEN_ANY = 4


class DelayTable:
    """The delays of `n_rows` streams, as columns.

    Functions take different rows and arrays of the same length beside them; or one row as a number and numbers beside it, which is the same
    arithmetic and costs less than arrays of one.
    """

    def __init__(self, n_rows: int) -> None:
        self.clock_hz: Numbers = np.full(n_rows, _DEFAULT_CLOCK_HZ)
        """Of the timestamps."""
        self.excess: Numbers = np.zeros(n_rows, np.int64)
        """Ticks in a row in which the depth was over the target."""
        self.shortage: Numbers = np.zeros(n_rows, np.int64)
        """The same for a depth under the target."""
        self.timestamp: Numbers = np.zeros(n_rows, np.int64)
        """Of the newest packet, as `arrival` (seconds)."""
        self.arrival: Seconds = np.zeros(n_rows)
        self.lateness: Seconds = np.zeros(n_rows)
        """Of the newest packet against the fastest one."""
        self.peak: Seconds = np.zeros(n_rows)
        """The largest lateness seen lately."""
        self.packet_frames: Numbers = np.ones(n_rows, np.int64)
        self.target_frames: Numbers = np.ones(n_rows, np.int64)

    def note_packets(self, rows: RowOrRows, timestamp: NumberOrNumbers, arrival: TimeOrTimes) -> None:
        """Note a packet for each of `rows` whose number is higher than all before, and which arrived at `arrival` (seconds)."""
        lateness = self.lateness[rows] + arrival - self.arrival[rows]
        lateness = lateness - ((timestamp - self.timestamp[rows]) & MASK) / self.clock_hz[rows] - DRIFT_LEAK_S
        peak = self.peak[rows]
        self.arrival[rows] = arrival
        self.timestamp[rows] = timestamp
        self.lateness[rows] = larger(lateness, 0.0)
        self.set_targets(rows, choose(lateness > peak, smaller(lateness, _MAX_PEAK_S), peak * PEAK_DECAY))

    def set_targets(self, rows: RowOrRows, peak: TimeOrTimes) -> None:
        """Remember `peak` for each of `rows`, and set the target that follows from it."""
        frames = np.ceil((peak - PEAK_IGNORED_S) / _FRAME_S)
        self.peak[rows] = peak
        self.target_frames[rows] = smaller(1 + larger(frames, 0), MAX_TARGET) + self.packet_frames[rows] - 1

    def advise(self, rows: RowOrRows, depth: NumberOrNumbers) -> Numbers:
        """What is to be done for each of `rows` when `depth` frames wait, as numbers of `Advice`. Once a tick for a stream that plays."""
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
    """The delay of one stream: row `row` of `table`, or of a table of its own. `clock_hz` is that of its timestamps.

    `lost` counts the packets that are missing by their numbers and have not come so far, `loss_runs` how many runs they form.
    """

    __slots__ = ("_last_run", "loss_runs", "lost", "row", "table")

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
        self._forget_network()

    def _forget_network(self) -> None:
        """The source has changed: forget the delays of the one before."""
        self._packet_frames = 1
        self._set_peak(_FIRST_PEAK_S)
        self._begin_measuring(0, 0.0)

    def _begin_measuring(self, timestamp: int, arrival: float) -> None:
        """A talkspurt begins with this packet: it is the fastest one."""
        self._timestamp = timestamp
        self._arrival = arrival
        self._lateness = 0.0
        self.corrected()

    def note_packet(self, timestamp: int, arrival: float) -> None:
        """A packet with a higher number than all before has come at `arrival` (seconds)."""
        self.table.note_packets(self.row, timestamp, arrival)

    def _note_missing(self, n_packets: int) -> None:
        """`n_packets` sequence numbers are missing before this packet."""
        if n_packets:
            self.lost += n_packets
            self.loss_runs += 1
            self._last_run = n_packets

    def _note_overtaken(self, timestamp: int, arrival: float) -> None:
        """A packet has come that others have overtaken. It had counted as lost."""
        self.lost -= self.lost > 0
        if self._last_run:
            self._last_run -= 1
            self.loss_runs -= self._last_run == 0
        lateness = self._lateness + arrival - self._arrival + ((self._timestamp - timestamp) & MASK) / self._clock_hz
        peak = self._peak
        self._set_peak(max(peak, min(peak + (lateness - peak) * _OVERTAKEN_WEIGHT, _MAX_PEAK_S)))

    def _set_packet_frames(self, n_frames: int) -> None:
        """So many frames come in one packet: at its arrival as many more wait than when it is due."""
        if n_frames != self._packet_frames:
            self._packet_frames = n_frames
            self._set_peak(self._peak)

    def _set_peak(self, peak_s: float) -> None:
        self.table.set_targets(self.row, peak_s)

    def advise(self, depth: int) -> Advice:
        """What is to be done when `depth` frames wait. Once a tick; `corrected` when it was done."""
        return Advice(int(self.table.advise(self.row, depth)))

    def corrected(self) -> None:
        """The buffer has followed the advice."""
        self._excess = self._shortage = 0
