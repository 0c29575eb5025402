"""Telephone events: receive and send DTMF digits (RFC 4733 §2).

Receiving: event payloads with their RTP timestamps go in, one Digit per event comes out. The timestamp identifies an event, so updates,
repeated ends and reordered packets never count twice. A digit is reported at its first end packet. If all end packets are lost, it is
reported with the next event, or by `flush` after three frames without an update. An event longer than the duration field is sent in
segments (§2.5.1.3), which are joined.

Some gateways change the timestamp within one event, against §2.5.1.2. A packet with another timestamp belongs to the same key press if the
digit is the same, there is no marker, its sequence number follows, its duration is not smaller, and its timestamp is no further ahead than
the event has lasted, with some tolerance. A new key press begins with the marker, with a small duration, or after sound. Others do not
advance the timestamp between two key presses: another digit in a later packet is a key press of its own, and so is the same digit if its
marker follows an end.

Sending: digits go in, and each 20 ms tick one packet comes out instead of sound: constant timestamp, growing duration, the end three times
at the update interval (§2.5.1.4), a long event in segments.

Durations use the clock of the event's payload type. Timestamps should too, but with telephone-event/8000 beside Opus they use the stream's
48 kHz, because the stream has one timeline. Only the caller knows which payload type was negotiated.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.base.pcm import FRAME_MS

EVENTS: Final = "0123456789*#ABCD"
"""The digit of each event code (§3.2)."""
_END: Final = 0x80
_VOLUME: Final = 10
"""Tone power in -dBm0 that we announce (§2.3.4 allows 0 to 63; trunks ignore it)."""
_LONGEST: Final = 0xFFFF
_END_PACKETS: Final = 3
_LONGEST_MS: Final = 60_000
_GAP_FRAMES: Final = 2
"""Frames of sound between two digits: together with the two repeated ends 80 ms of pause (ITU-T Q.24 requires 30 to 70)."""
_LOST_END_FRAMES: Final = 3
_MOVED_SLACK_FRAMES: Final = 4
"""How far a changed timestamp may be behind the end of a key press, because the repeated ends also advance it."""
_MOVED_SEQUENCE: Final = 3
"""Maximum sequence step within a key press, with two packets lost: less than the ends plus the pause before a new one."""
_SEGMENT_SLACK_FRAMES: Final = 4
"""How much shorter than the maximum duration a segment may be: some senders use whole packets only."""
_OLDEST_S: Final = 10
"""An event that began longer than this before the last one belongs to a new timeline and is not reordered. Longer than a segment."""
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


class Digit(Struct, frozen=True):
    """A digit that the peer has pressed: one of `0-9*#A-D`, and its duration."""

    digit: str
    duration_ms: int


class DigitReceiver:
    """The events of one source. Call `reset` when the source changes.

    `clock_rate` is that of the event's payload type in Hz; `timestamp_rate` that of the stream's timestamps, if different.
    """

    __slots__ = (
        "_clock_rate",
        "_code",
        "_duration",
        "_ended",
        "_ended_by_silence",
        "_extra",
        "_frame_ticks",
        "_ready",
        "_sequence",
        "_timestamp",
        "_timestamp_rate",
    )

    def __init__(self, clock_rate: int = 8000, timestamp_rate: int | None = None) -> None:
        self._clock_rate = clock_rate
        self._timestamp_rate = timestamp_rate or clock_rate
        self._frame_ticks = clock_rate * FRAME_MS // 1000
        self._ready: deque[Digit] = deque()
        self.reset()

    def reset(self) -> None:
        """Clear the current event and the reported digits."""
        self._code = -1
        self._timestamp = 0
        self._duration = 0
        self._extra = 0
        self._ended = True
        self._ended_by_silence = False
        self._sequence: int | None = None
        self._ready.clear()

    @property
    def is_idle(self) -> bool:
        """Whether `flush` has nothing to do."""
        return self._ended and not self._ready

    def receive(self, payload: bytes, timestamp: int, sequence: int | None = None, *, marker: bool = False) -> Digit | None:
        """Take one event packet. Raises ParseError if it is too short. Codes above 15 (flash, tones) are ignored.

        Without a `sequence` number only the timestamp identifies the event.
        """
        if len(payload) < 4:
            raise ParseError("telephone event", expected="4 bytes", found=f"{len(payload)} bytes")
        code, flags = payload[0], payload[1]
        if code < len(EVENTS):
            duration = payload[2] << 8 | payload[3]
            if not marker and self._is_renumbered(code, timestamp, duration, sequence):
                self._timestamp = timestamp
            if self._is_press_of_same_timestamp(code, timestamp, duration, sequence, marker=marker):
                self._report_unended()
                self._begin(code, timestamp, duration)
            self._follow(code, timestamp, duration, is_end=flags >= _END)
            self._note_sequence(sequence)
        return self._ready.popleft() if self._ready else None

    def flush(self, now_timestamp: int) -> Digit | None:
        """Report a digit whose end packets are lost: `now_timestamp` on the peer's media clock is three frames after its last update.

        Call it in each frame while `is_idle` is false.
        """
        if not self._ended:
            passed = (now_timestamp - self._timestamp) & _MASK
            passed = passed - (1 << 32) if passed >= _HALF else passed
            if passed * self._clock_rate // self._timestamp_rate - self._duration >= _LOST_END_FRAMES * self._frame_ticks:
                self._report()
                self._ended_by_silence = True
        return self._ready.popleft() if self._ready else None

    def _is_renumbered(self, code: int, timestamp: int, duration: int, sequence: int | None) -> bool:
        """Whether a packet with another timestamp continues the last key press."""
        if code != self._code or sequence is None or self._sequence is None or duration < self._duration:
            return False
        step = ((timestamp - self._timestamp) & _MASK) * self._clock_rate // self._timestamp_rate
        furthest = self._duration + _MOVED_SLACK_FRAMES * self._frame_ticks
        return 0 < step <= furthest and 0 < (sequence - self._sequence) & 0xFFFF <= _MOVED_SEQUENCE

    def _is_press_of_same_timestamp(self, code: int, timestamp: int, duration: int, sequence: int | None, *, marker: bool) -> bool:
        """Whether a packet begins another key press although the sender has not advanced its timestamp."""
        if self._code < 0 or timestamp != self._timestamp or sequence is None or self._sequence is None:
            return False
        is_newer = 0 < (sequence - self._sequence) & 0xFFFF < 0x8000
        return is_newer and (code != self._code or (marker and self._ended and duration < self._duration))

    def _note_sequence(self, sequence: int | None) -> None:
        """Record the highest sequence number of the events. An overtaken packet does not lower it."""
        if sequence is None:
            return
        if self._sequence is None or (sequence - self._sequence) & 0xFFFF < 0x8000:
            self._sequence = sequence

    def _follow(self, code: int, timestamp: int, duration: int, *, is_end: bool) -> None:
        step = (timestamp - self._timestamp) & _MASK
        if self._code < 0:
            self._begin(code, timestamp, duration)
        elif step == 0:
            if self._ended:
                return
            self._duration = max(self._duration, duration)
        elif step >= _HALF and (1 << 32) - step < _OLDEST_S * self._timestamp_rate:
            return  # an overtaken packet of an older event, which was reported
        elif code == self._code and self._is_next_segment(step):
            self._extra += step * self._clock_rate // self._timestamp_rate
            self._timestamp, self._duration = timestamp, duration
            if self._ended:
                return  # reported when it seemed to be over
        else:
            self._report_unended()
            self._begin(code, timestamp, duration)
        if is_end:
            self._report()

    def _is_next_segment(self, step: int) -> bool:
        """Whether an event `step` later continues the last one: it starts at its end, which is close to the maximum duration.

        If the last one was reported by `flush` because of missing updates, only the exact maximum is accepted; after an end packet nothing
        is.
        """
        step = step * self._clock_rate // self._timestamp_rate
        if self._ended:
            return self._ended_by_silence and step == _LONGEST
        return self._duration <= step <= _LONGEST and step > _LONGEST - _SEGMENT_SLACK_FRAMES * self._frame_ticks

    def _begin(self, code: int, timestamp: int, duration: int) -> None:
        self._code, self._timestamp, self._duration = code, timestamp, duration
        self._extra = 0
        self._ended = False

    def _report_unended(self) -> None:
        if not self._ended:
            self._report()

    def _report(self) -> None:
        self._ended = True
        self._ended_by_silence = False
        self._ready.append(Digit(EVENTS[self._code], (self._extra + self._duration) * 1000 // self._clock_rate))


class DigitPacket(Struct, frozen=True):
    """One event packet to send. `timestamp` is the start of the event. `is_last` ends the digit."""

    payload: bytes
    marker: bool
    timestamp: int
    is_last: bool = False


class DigitSender:
    """Digits to send, one after another. The rates are those of `DigitReceiver`."""

    __slots__ = ("_clock_rate", "_code", "_duration", "_ends", "_frame_ticks", "_gap", "_queue", "_timestamp", "_timestamp_rate", "_total")

    def __init__(self, clock_rate: int = 8000, timestamp_rate: int | None = None) -> None:
        self._clock_rate = clock_rate
        self._timestamp_rate = timestamp_rate or clock_rate
        self._frame_ticks = clock_rate * FRAME_MS // 1000
        self._queue: deque[tuple[int, int]] = deque()
        self._code = -1
        self._timestamp = 0
        self._duration = 0
        self._total = 0
        self._ends = 0
        self._gap = 0

    @property
    def is_idle(self) -> bool:
        """Whether no digit is being sent or queued."""
        return self._code < 0 and not self._queue

    @property
    def n_waiting(self) -> int:
        """Number of digits that have not begun."""
        return len(self._queue)

    def queue(self, digits: str, duration_ms: int = 160) -> None:
        """Append `digits`, each `duration_ms` long: whole frames, 40 ms to a minute. Raises ValueError for an invalid character."""
        codes = [EVENTS.find(digit) for digit in digits.upper()]
        if -1 in codes:
            raise ValueError(f"not a telephone digit in {digits!r}")
        ticks = max(2, -(-min(duration_ms, _LONGEST_MS) // FRAME_MS)) * self._frame_ticks
        self._queue.extend((code, ticks) for code in codes)

    def clear(self) -> None:
        """Drop the digits that have not begun. The current one ends normally."""
        self._queue.clear()

    def next_packet(self, timestamp: int) -> DigitPacket | None:
        """The packet of this tick, None if sound is to be sent. `timestamp` is the media clock, which continues meanwhile."""
        if self._code < 0:
            if self._gap:
                self._gap -= 1
                return None
            if not self._queue:
                return None
            self._code, self._total = self._queue.popleft()
            self._timestamp, self._duration, self._ends = timestamp, 0, 0
        is_first = self._duration == 0
        self._duration = min(self._duration + self._frame_ticks, self._total)
        if self._duration > _LONGEST:
            return self._end_segment()
        self._ends += self._duration == self._total
        flags = _END | _VOLUME if self._ends else _VOLUME
        payload = bytes((self._code, flags, self._duration >> 8, self._duration & 0xFF))
        is_last = self._ends == _END_PACKETS
        if is_last:
            self._code, self._gap = -1, _GAP_FRAMES
        return DigitPacket(payload, is_first, self._timestamp, is_last)

    def _end_segment(self) -> DigitPacket:
        """The last packet of a segment: maximum duration and no end flag. The next segment starts where it ends (§2.5.1.3)."""
        packet = DigitPacket(bytes((self._code, _VOLUME)) + _LONGEST.to_bytes(2, "big"), False, self._timestamp)
        self._timestamp = (self._timestamp + _LONGEST * self._timestamp_rate // self._clock_rate) & _MASK
        self._duration -= _LONGEST
        self._total -= _LONGEST
        return packet
