"""The caller's sound of a stream without RTP: the control process feeds messages, which are decoded here; one frame per tick comes out.

It has the role of `leg.Leg` for a stream with RTP. The connection loses nothing, but pieces may be late. A late burst is played completely,
and the delay that it causes is reduced in pauses.

| state   | entered                | per tick                                                        |
|---------|------------------------|-----------------------------------------------------------------|
| idle    | at start, when empty   | no frame                                                        |
| filling | on the next piece      | no frame until `START_FRAMES` are queued or as many ticks pass  |
| playing | after that             | the next frame; silent ones are skipped while over `LONG_FRAMES` are queued |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from active_call.base.pcm import FRAME_MS, LISTEN_RATE_HZ, samples_in
from active_call.codec.messages import MessageCodec, PcmMessages
from active_call.codec.polyphase import OneStreamResampler
from active_call.media.link.messages import Link, MediaStarted
from active_call.media.send.mixer import Samples

START_FRAMES: Final = 2
"""40 ms, like the jitter buffer of a new stream."""
LONG_FRAMES: Final = 10
MAX_WAITING_MS: Final = 10_000
"""Older sound is dropped: after such a long interruption an answer to it would be too late."""
QUIET: Final = 250
"""Peak of a frame that counts as a pause, about -50 dBov."""
_TICK_S: Final = FRAME_MS / 1000


class FedAudio:
    """The fed sound of one stream at `rate_hz`. Frames have that rate, except that 48 kHz is resampled to 16 kHz."""

    def __init__(self, stream: int, rate_hz: int, emit: Callable[[Link], None]) -> None:
        self._stream = stream
        self._rate_hz = rate_hz
        self._emit = emit
        self._codec: MessageCodec = PcmMessages(rate_hz)
        self._frame_samples = samples_in(FRAME_MS, rate_hz)
        self._max_samples = samples_in(MAX_WAITING_MS, rate_hz)
        is_wider = rate_hz > LISTEN_RATE_HZ
        self._resampler = OneStreamResampler(rate_hz, LISTEN_RATE_HZ) if is_wider else None
        self.rate_hz = LISTEN_RATE_HZ if is_wider else rate_hz
        self._pieces: deque[Samples] = deque()
        self._n_waiting = 0
        self._is_playing = False
        self._n_waited = 0
        self._last_fed_at = 0.0
        self.n_dropped = 0
        """Samples dropped because too many were queued."""
        self.started = False

    @property
    def sound(self) -> FedAudio:
        """The source of the frames: this object."""
        return self

    @property
    def is_batched(self) -> bool:
        """False: frames are samples and need no decoding."""
        return False

    @property
    def depth(self) -> int:
        """Number of whole queued frames."""
        return self._n_waiting // self._frame_samples

    def use(self, codec: MessageCodec) -> None:
        """Take messages of `codec` from now on. Raises ValueError if its rate is not that of the stream."""
        if codec.rate_hz != self._rate_hz:
            raise ValueError(f"codec: its rate is {codec.rate_hz} Hz, that of the stream {self._rate_hz}")
        self._codec = codec

    def feed(self, data: bytes, now: float) -> None:
        """Take the next message, which has any length; without `use` it is s16le mono. Raises ParseError if it is malformed."""
        piece = self._codec.decode(data)
        if not len(piece):
            return
        self._pieces.append(piece)
        self._n_waiting += len(piece)
        self._last_fed_at = now
        excess = self._n_waiting - self._max_samples
        if excess > 0:
            self._take(excess)
            self.n_dropped += excess
        if not self.started:
            self.started = True
            self._emit(MediaStarted(self._stream, now, "", 0))

    def arrival_of_frame(self, now: float) -> float:
        """When the last popped frame arrived: the arrival of the last piece minus the frames still queued."""
        return self._last_fed_at - _TICK_S * self.depth if self.started else now

    def skip(self) -> None:
        """Skip the frame of a tick in which it is not needed."""
        self.pop()

    def pop(self) -> Samples | None:
        """The frame of this tick, None if there is none. Call once per 20 ms."""
        if not self._n_waiting:
            self._is_playing, self._n_waited = False, 0
            return None
        if not self._is_playing:
            self._is_playing = self.depth >= START_FRAMES or self._n_waited >= START_FRAMES
            self._n_waited += 1
            if not self._is_playing:
                return None
        frame = self._take_frame()
        while self.depth > LONG_FRAMES and _is_quiet(frame):
            frame = self._take_frame()
        return frame if self._resampler is None else self._resampler.process(frame)

    def _take_frame(self) -> Samples:
        """The next frame. The end of the sound is padded with silence."""
        sound = self._take(min(self._frame_samples, self._n_waiting))
        if len(sound) == self._frame_samples:
            return sound
        frame = np.zeros(self._frame_samples, np.int16)
        frame[: len(sound)] = sound
        return frame

    def _take(self, n_samples: int) -> Samples:
        """Remove the first `n_samples` of the queue, which must have that many."""
        self._n_waiting -= n_samples
        taken: list[Samples] = []
        while n_samples:
            piece = self._pieces.popleft()
            if len(piece) > n_samples:
                self._pieces.appendleft(piece[n_samples:])
                piece = piece[:n_samples]
            taken.append(piece)
            n_samples -= len(piece)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)


def _is_quiet(frame: Samples) -> bool:
    return int(frame.max()) <= QUIET and int(frame.min()) >= -QUIET
