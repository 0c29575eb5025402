"""Turn one stream's packets into a frame of sound every 20 ms, for formats that are decoded packet by packet.

Packets go in as they arrive. Frames of samples come out, one per tick, including concealment of lost and late packets. The interface is
that of `jitter.JitterBuffer` with samples instead of bytes. This module knows no keys, and of the codec only `Decoder`.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from active_call.base.errors import ParseError
from active_call.base.pcm import FRAME_MS
from active_call.rtp.delay import Advice
from active_call.rtp.packet_jitter import Gap, Packet, PacketJitterBuffer

Samples = NDArray[np.int16]

_QUIET: Final = 250
"""Peak of a frame that counts as a pause, about -50 dBov, as for G.711."""
_STEPS_PER_S: Final = 400
"""Gaps are filled in steps of 2.5 ms, the shortest frame of Opus."""


class Decoder(Protocol):
    """The interface to a codec (`active_call.codec.stream.Decoder`)."""

    sample_rate_hz: int

    def duration_s(self, payload: bytes) -> float:
        """The duration of that payload. Raises ParseError."""
        ...

    def decode(self, payload: bytes) -> Samples:
        """Return its samples. Raises ParseError."""
        ...

    def conceal(self, n_samples: int) -> Samples:
        """Return `n_samples` of concealment for a missing payload."""
        ...

    def decode_fec(self, next_payload: bytes, n_samples: int) -> Samples:
        """Like `conceal`, using the FEC data in the payload after the missing one."""
        ...

    def reset(self) -> None:
        """Reset for another stream."""
        ...


class Playout:
    """The receiving side of one such stream. `clock_hz` is the clock of its timestamps."""

    __slots__ = ("_clock_hz", "_decoder", "_frame", "_frame_samples", "_is_quiet", "_n_rest", "_rest", "buffer", "malformed", "stretched")

    def __init__(self, decoder: Decoder, clock_hz: int) -> None:
        self._decoder = decoder
        self._clock_hz = clock_hz
        self._frame_samples = decoder.sample_rate_hz * FRAME_MS // 1000
        self.buffer = PacketJitterBuffer(clock_hz)
        """Its counters have the loss statistics."""
        self.malformed = 0
        """Number of malformed payloads."""
        self.stretched = 0
        """Frames inserted to lengthen the delay."""
        self._forget_sound()

    def reset(self) -> None:
        """Clear the stored packets and the decoder's state, because the source has changed. The counters stay."""
        self.buffer.reset()
        self._decoder.reset()
        self._forget_sound()

    def _forget_sound(self) -> None:
        self._rest: list[Samples] = []
        self._n_rest = 0
        self._frame: Samples = np.zeros(self._frame_samples, np.int16)

    @property
    def depth(self) -> int:
        """Number of whole frames stored, decoded or not."""
        waiting = self.buffer.waiting_ticks * self._decoder.sample_rate_hz // self._clock_hz
        return (waiting + self._n_rest) // self._frame_samples

    @property
    def late(self) -> int:
        """Number of packets that arrived after their playout time."""
        return self.buffer.late

    def push(self, sequence: int, timestamp: int, payload: bytes, arrival: float) -> None:
        """Take one packet that arrived at `arrival` (seconds)."""
        try:
            ticks = round(self._decoder.duration_s(payload) * self._clock_hz)
        except ParseError:
            self.malformed += 1
            self.buffer.note_other(sequence)
            return
        self.buffer.push(sequence, timestamp, payload, ticks, arrival)

    def note_other(self, sequence: int) -> None:
        """Record a packet of this source that is not sound, so that it does not count as lost."""
        self.buffer.note_other(sequence)

    def pop(self) -> Samples | None:
        """The frame of this tick (read-only), or None if the sender pauses. Call once per 20 ms."""
        if not self.buffer.start_tick():
            return None
        advice = self.buffer.advise(self.depth)
        is_quiet = advice is Advice.LENGTHEN_SILENCE and _is_quiet(self._frame)
        if is_quiet or advice is Advice.LENGTHEN_ANY:
            self.buffer.corrected()
            self.stretched += 1
            return self._frame if is_quiet else self._decoder.conceal(self._frame_samples)
        frame = self._next_frame()
        if frame is None:
            return None
        if advice is Advice.SHORTEN_ANY or (advice is Advice.SHORTEN_SILENCE and _is_quiet(frame)):
            frame = self._shortened(frame)
        self._frame = frame
        return frame

    def _shortened(self, frame: Samples) -> Samples:
        """The next frame with `frame` faded into it, so that dropping a frame causes no click."""
        self.buffer.corrected()
        after = self._next_frame()
        if after is None:
            return frame
        self.buffer.dropped += 1
        rise = np.linspace(0, 1, self._frame_samples, dtype=np.float32)
        return np.asarray(np.rint(frame + (after - frame.astype(np.float32)) * rise), np.int16)

    def _next_frame(self) -> Samples | None:
        """Decode until a frame is full. If the buffer is empty, conceal the rest and report that to the buffer."""
        n_samples, rate = self._frame_samples, self._decoder.sample_rate_hz
        while self._n_rest < n_samples:
            missing = n_samples - self._n_rest
            due = self.buffer.take(missing * self._clock_hz // rate)
            if due is not None:
                self._keep(self._decoded(due))
                continue
            missing += -missing % (rate // _STEPS_PER_S)
            if not self.buffer.stall(missing * self._clock_hz // rate):
                self._forget_sound()
                return None
            self._keep(self._decoder.conceal(missing))
        sound = self._rest[0] if len(self._rest) == 1 else np.concatenate(self._rest)
        self._n_rest = len(sound) - n_samples
        self._rest = [sound[n_samples:]] if self._n_rest else []
        return sound[:n_samples]

    def _keep(self, samples: Samples) -> None:
        self._rest.append(samples)
        self._n_rest += len(samples)

    def _decoded(self, due: Packet | Gap) -> Samples:
        n_samples = due.ticks * self._decoder.sample_rate_hz // self._clock_hz
        match due:
            case Packet(payload):
                try:
                    return self._decoder.decode(payload)
                except ParseError:
                    self.malformed += 1
                    return self._concealment(n_samples, None)
            case Gap(_, next_payload):
                return self._concealment(n_samples, next_payload)

    def _concealment(self, n_samples: int, next_payload: bytes | None) -> Samples:
        """Concealment for a gap. A remainder shorter than 2.5 ms is ignored."""
        step = self._decoder.sample_rate_hz // _STEPS_PER_S
        n_samples -= n_samples % step
        if not n_samples:
            return np.zeros(0, np.int16)
        return self._decoder.conceal(n_samples) if next_payload is None else self._decoder.decode_fec(next_payload, n_samples)


def _is_quiet(frame: Samples) -> bool:
    return int(frame.max()) <= _QUIET and int(frame.min()) >= -_QUIET
