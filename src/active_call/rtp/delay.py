"""How long packets are to wait before they are played: one policy for both jitter buffers.

Arrivals and timestamps enter, a target in frames leaves, and the advice to shorten or lengthen a delay that differs from it. It counts what
is missing by its numbers, and holds no packet. `jitter_table` does the same for the packets of many streams at once.

Theory. `target_frames` is one frame more than the largest lateness seen lately, 20 to 120 ms. Lateness is measured against the fastest
packet; its peak halves in about seven seconds, and packets that others overtook raise it only in part. A delay that was longer than the
target for a second is taken back where it is silent, after five seconds (sooner when it is far off) anywhere; one that was shorter is
lengthened in the same way, in sound by a frame that is made up. That also follows a sender whose clock drifts.
"""

from __future__ import annotations

from enum import IntEnum
from math import ceil
from typing import Final

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


class Advice(IntEnum):
    """What is to be done about the delay in this tick."""

    KEEP = 0
    SHORTEN_SILENCE = 1
    SHORTEN_ANY = 2
    LENGTHEN_SILENCE = 3
    LENGTHEN_ANY = 4


class PlayoutDelay:
    """The delay of one stream. `clock_hz` is that of its timestamps."""

    __slots__ = (
        "_arrival",
        "_clock_hz",
        "_excess",
        "_frame_s",
        "_last_run",
        "_lateness",
        "_max_target",
        "_packet_frames",
        "_peak",
        "_shortage",
        "_timestamp",
        "loss_runs",
        "lost",
        "target_frames",
    )

    def __init__(self, clock_hz: int, frame_ms: int) -> None:
        self._clock_hz = clock_hz
        self._frame_s = frame_ms / 1000
        self._max_target = MAX_TARGET_MS // frame_ms
        self.lost = self.loss_runs = self._last_run = 0
        self._forget_network()

    def _forget_network(self) -> None:
        """Another source sends: nothing is known of its way."""
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

    def _note_missing(self, n_packets: int) -> None:
        """So many numbers were left out before the packet at hand."""
        if n_packets:
            self.lost += n_packets
            self.loss_runs += 1
            self._last_run = n_packets

    def _note_overtaken(self, timestamp: int, arrival: float) -> None:
        """A packet has come that others have overtaken; it had counted as lost."""
        self.lost -= self.lost > 0
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
