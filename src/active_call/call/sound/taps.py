"""The listeners of a call: each gets both sides' sound in pieces, as s16le mono at 16 kHz.

The media process sends the sound only while there is a listener. A listener must not block; one that fails is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import numpy as np

from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.codec.polyphase import OneStreamResampler
from active_call.media.link.messages import CallerAudio, SentAudio
from active_call.media.pool.pool import MediaStream

log = logging.getLogger("active_call.call")

RATE_HZ: Final = 16_000
OURS: Final = 0
"""The side that the caller hears."""
CALLERS: Final = 1
"""The side of the caller."""

Listener = Callable[[int, bytes], None]
"""Gets the side and a piece of its sound."""


class SoundTaps:
    """The listeners of one call. `forward` orders the caller's sound even without a recogniser."""

    def __init__(self, forward: Callable[[bool], None]) -> None:
        self._forward = forward
        self.is_secret = False
        """The caller says or presses something that is for the agent only; listeners hear silence meanwhile."""
        self._listeners: list[Listener] = []
        self._stream: MediaStream | None = None
        self._resampler: OneStreamResampler | None = None

    def use(self, stream: MediaStream) -> None:
        """The call's sound is on `stream` from now on."""
        self._stream, self._resampler = stream, None
        if self._listeners:
            stream.forward_sent(True, piece_ms=FRAME_MS)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Pass both sides to `listener` until the returned function is called."""
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._forward(True)
            if self._stream is not None:
                self._stream.forward_sent(True, piece_ms=FRAME_MS)
        return lambda: self._remove(listener)

    def _remove(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            if not self._listeners:
                self._forward(False)
                if self._stream is not None:
                    self._stream.forward_sent(False)

    def caller(self, report: CallerAudio) -> None:
        """More of the caller's sound."""
        if self._listeners:
            self._report(CALLERS, bytes(len(report.pcm)) if self.is_secret else report.pcm)

    def sent(self, report: SentAudio) -> None:
        """More of the sound sent to the caller, at the rate of the stream's plays."""
        if not self._listeners or self._stream is None:
            return
        rate_hz = self._stream.rate_hz
        frame = BYTES_PER_SAMPLE * samples_in(FRAME_MS, rate_hz)
        for at in range(0, len(report.pcm) // frame * frame, frame):
            self._report(OURS, self._at_16_khz(report.pcm[at : at + frame], rate_hz))

    def _at_16_khz(self, pcm: bytes, rate_hz: int) -> bytes:
        if rate_hz == RATE_HZ:
            return pcm
        if self._resampler is None:
            self._resampler = OneStreamResampler(rate_hz, RATE_HZ)
        return self._resampler.process(np.frombuffer(pcm, "<i2")).astype("<i2", copy=False).tobytes()

    def _report(self, side: int, pcm: bytes) -> None:
        for listener in list(self._listeners):
            try:
                listener(side, pcm)
            except Exception:  # a listener that fails does not end the call
                log.exception("listener of a call failed")
                self._remove(listener)
