"""The caller's sound of a stream without RTP: pieces that the control process feeds enter, a frame leaves in every tick.

It stands where `leg.Leg` stands for a stream with RTP. Pieces come over a connection that loses nothing, but may be late: what comes in a
burst is heard to its end, and the delay that is left of it is taken back in pauses.

| state   | entered by             | a tick does                                                     |
|---------|------------------------|-----------------------------------------------------------------|
| idle    | start, nothing waits   | gives nothing                                                   |
| filling | the next piece         | gives nothing, until `START_FRAMES` wait, or as many ticks pass |
| playing | either                 | gives the next frame; silent ones are left out while over `LONG_FRAMES` wait |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from active_call.base.pcm import FRAME_MS, LISTEN_RATE_HZ, samples_in
from active_call.codec.polyphase import OneStreamResampler
from active_call.media.link.messages import Link, MediaStarted
from active_call.media.send.mixer import Samples

START_FRAMES: Final = 2
"""40 ms, as the jitter buffer of a new stream."""
LONG_FRAMES: Final = 10
MAX_WAITING_MS: Final = 10_000
"""Older sound is dropped: the connection was interrupted for so long that an answer to it would come too late."""
QUIET: Final = 250
"""Peak of a frame that counts as a pause, about -50 dBov."""
_TICK_S: Final = FRAME_MS / 1000


class FedAudio:
    """What is fed to one stream at `rate_hz`. Frames have that rate, those of 48 kHz are brought to 16 kHz."""

    def __init__(self, stream: int, rate_hz: int, emit: Callable[[Link], None]) -> None:
        self._stream = stream
        self._emit = emit
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
        """Samples that were given up because too much waited."""
        self.started = False

    @property
    def sound(self) -> FedAudio:
        """Where the frames come from: here."""
        return self

    @property
    def is_batched(self) -> bool:
        """Frames are samples already: there is nothing to decode."""
        return False

    @property
    def depth(self) -> int:
        """Whole frames waiting."""
        return self._n_waiting // self._frame_samples

    def feed(self, pcm: bytes, now: float) -> None:
        """Take the next piece, s16le mono, of any length."""
        piece = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)
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
        """When the frame came that was popped last: that many frames before the last piece as still wait."""
        return self._last_fed_at - _TICK_S * self.depth if self.started else now

    def skip(self) -> None:
        """Let a tick pass in which the frame is not needed."""
        self.pop()

    def pop(self) -> Samples | None:
        """The frame of this tick, None when there is none. Call it once in 20 ms."""
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
        """The next frame; the end of the sound is filled with silence."""
        sound = self._take(min(self._frame_samples, self._n_waiting))
        if len(sound) == self._frame_samples:
            return sound
        frame = np.zeros(self._frame_samples, np.int16)
        frame[: len(sound)] = sound
        return frame

    def _take(self, n_samples: int) -> Samples:
        """The first `n_samples` of what waits; there are as many."""
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
