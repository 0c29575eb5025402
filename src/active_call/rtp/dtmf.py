"""Telephone events: receives and sends DTMF digits (RFC 4733 section 2).

Received: event payloads with their RTP timestamps enter, one Digit per event leaves. An event is named by its timestamp, so that updates,
the repeated end and packets out of order never count twice. A digit is told at its first end packet. When every end packet is lost it is
told by the next event, or by `flush` when nothing came for three frames. An event longer than the duration field is sent in segments
(section 2.5.1.3): they are joined.

Some gateways renumber the timestamps within one event, against section 2.5.1.2. A packet with another timestamp belongs to the same press
when the digit is the same, there is no marker, its sequence number follows, its duration is no smaller than before, and its timestamp lies
no further ahead than the event has lasted, with some slack. A new press begins with the marker, with a small duration, or after sound.

Sent: digits enter, and each 20 ms tick one packet leaves instead of sound: frozen timestamp, growing duration, the end three times at the
update interval (section 2.5.1.4), a long one in segments.

Durations count the clock of the event's payload type. Timestamps should too, but where telephone-event/8000 goes with Opus they count the
stream's 48 kHz, as the stream has one timeline. Only the caller knows which payload type was agreed on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from active_call.base.errors import ParseError
from active_call.base.pcm import FRAME_MS

EVENTS: Final = "0123456789*#ABCD"
"""The digit of each event code (section 3.2)."""
_END: Final = 0x80
_VOLUME: Final = 10
"""Power of the tone in -dBm0 that we state (section 2.3.4 takes 0 to 63; trunks ignore it)."""
_LONGEST: Final = 0xFFFF
_END_PACKETS: Final = 3
_LONGEST_MS: Final = 60_000
_GAP_FRAMES: Final = 2
"""Frames of sound between two digits: with the two repetitions of the end, 80 ms of pause (ITU-T Q.24 asks for 30 to 70)."""
_LOST_END_FRAMES: Final = 3
_MOVED_SLACK_FRAMES: Final = 4
"""How far behind the end of a press a renumbered timestamp of it may lie: the repeated ends count on."""
_MOVED_SEQUENCE: Final = 3
"""Sequence numbers from one packet of a press to the next, two of them lost: fewer than the ends and the pause before a new press."""
_SEGMENT_SLACK_FRAMES: Final = 4
"""A segment may end so much before the longest duration: some senders count whole packets only."""
_OLDEST_S: Final = 10
"""An event that began longer than this before the last one belongs to a new timeline, not to a packet out of order. More than a segment."""
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit that the peer pressed: one of `0-9*#A-D`, and for how long."""

    digit: str
    duration_ms: int


class DigitReceiver:
    """The events of one source. Call `reset` when the source changes.

    `clock_rate` is that of the event's payload type in Hz, `timestamp_rate` that of the stream's timestamps, where it differs.
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
        """Forget the event in progress and the digits that were reported."""
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
        """Take one event packet. Raises ParseError if it is too short; codes above 15 (flash, tones) are read over.

        Without a `sequence` number the timestamp alone names the event.
        """
        if len(payload) < 4:
            raise ParseError("telephone event", expected="4 bytes", found=f"{len(payload)} bytes")
        code, flags = payload[0], payload[1]
        if code < len(EVENTS):
            duration = payload[2] << 8 | payload[3]
            if not marker and self._is_renumbered(code, timestamp, duration, sequence):
                self._timestamp = timestamp
            self._follow(code, timestamp, duration, is_end=flags >= _END)
            self._note_sequence(sequence)
        return self._ready.popleft() if self._ready else None

    def flush(self, now_timestamp: int) -> Digit | None:
        """Tell the digit whose end packets seem lost: `now_timestamp`, on the peer's media clock, is three frames past its last update.

        Call it in each frame while `is_idle` is false.
        """
        if not self._ended:
            passed = (now_timestamp - self._timestamp) & _MASK
            passed = passed - (1 << 32) if passed >= _HALF else passed
            if passed * self._clock_rate // self._timestamp_rate - self._duration >= _LOST_END_FRAMES * self._frame_ticks:
                self._tell()
                self._ended_by_silence = True
        return self._ready.popleft() if self._ready else None

    def _is_renumbered(self, code: int, timestamp: int, duration: int, sequence: int | None) -> bool:
        """Whether a packet of another timestamp goes on with the press that was heard last."""
        if code != self._code or sequence is None or self._sequence is None or duration < self._duration:
            return False
        step = ((timestamp - self._timestamp) & _MASK) * self._clock_rate // self._timestamp_rate
        furthest = self._duration + _MOVED_SLACK_FRAMES * self._frame_ticks
        return 0 < step <= furthest and 0 < (sequence - self._sequence) & 0xFFFF <= _MOVED_SEQUENCE

    def _note_sequence(self, sequence: int | None) -> None:
        """Keep the highest sequence number of the events; a packet that was overtaken is no step back."""
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
            return  # an older event that was overtaken: told already
        elif code == self._code and self._is_next_segment(step):
            self._extra += step * self._clock_rate // self._timestamp_rate
            self._timestamp, self._duration = timestamp, duration
            if self._ended:
                return  # told when it seemed to be over
        else:
            if not self._ended:
                self._tell()
            self._begin(code, timestamp, duration)
        if is_end:
            self._tell()

    def _is_next_segment(self, step: int) -> bool:
        """Whether an event so much later goes on with the last one: right at its end, which is near the longest there is.

        When that was told for want of updates, by `flush`, only the longest itself is believed; after an end packet nothing is.
        """
        step = step * self._clock_rate // self._timestamp_rate
        if self._ended:
            return self._ended_by_silence and step == _LONGEST
        return self._duration <= step <= _LONGEST and step > _LONGEST - _SEGMENT_SLACK_FRAMES * self._frame_ticks

    def _begin(self, code: int, timestamp: int, duration: int) -> None:
        self._code, self._timestamp, self._duration = code, timestamp, duration
        self._extra = 0
        self._ended = False

    def _tell(self) -> None:
        self._ended = True
        self._ended_by_silence = False
        self._ready.append(Digit(EVENTS[self._code], (self._extra + self._duration) * 1000 // self._clock_rate))


@dataclass(frozen=True, slots=True)
class DigitPacket:
    """One event packet to send. `timestamp` is that of the event's beginning; `is_last` closes the digit."""

    payload: bytes
    marker: bool
    timestamp: int
    is_last: bool = False


class DigitSender:
    """Digits waiting to be sent, one after another. The rates are as with `DigitReceiver`."""

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
        """Whether nothing is under way or waiting."""
        return self._code < 0 and not self._queue

    @property
    def n_waiting(self) -> int:
        """Digits that have not begun."""
        return len(self._queue)

    def queue(self, digits: str, duration_ms: int = 160) -> None:
        """Append `digits`, each `duration_ms` long: whole frames, 40 ms to a minute. Raises ValueError for another character."""
        codes = [EVENTS.find(digit) for digit in digits.upper()]
        if -1 in codes:
            raise ValueError(f"not a telephone digit in {digits!r}")
        ticks = max(2, -(-min(duration_ms, _LONGEST_MS) // FRAME_MS)) * self._frame_ticks
        self._queue.extend((code, ticks) for code in codes)

    def clear(self) -> None:
        """Forget the digits that have not begun; the one under way ends as it should."""
        self._queue.clear()

    def next_packet(self, timestamp: int) -> DigitPacket | None:
        """Return the packet of this tick, None when sound is to be sent. `timestamp` is the media clock's, which goes on meanwhile."""
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
        """The last packet of a segment has the longest duration and no end flag; the next one begins where it ends (section 2.5.1.3)."""
        packet = DigitPacket(bytes((self._code, _VOLUME)) + _LONGEST.to_bytes(2, "big"), False, self._timestamp)
        self._timestamp = (self._timestamp + _LONGEST * self._timestamp_rate // self._clock_rate) & _MASK
        self._duration -= _LONGEST
        self._total -= _LONGEST
        return packet
