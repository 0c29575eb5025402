"""What streams send, as reports, for legs whose sound does not leave by RTP.

The frames of a tick go in after the sending half; `SentAudio` comes out in pieces. Samples are counted at the rate of the plays from the
order on, one frame per tick, whether or not anything was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.media.link.messages import ForwardSent, Link, SentAudio
from active_call.media.send.mixer import Samples
from active_call.media.worker.slots import Stream


class SentFrames(Protocol):
    """Gives access to the sent frames."""

    def sent(self, number: int) -> Samples | None:
        """The frame that the last tick sent for a stream, at the rate of its plays. None if it does not send."""
        ...


class _Forwarding:
    """One stream: the sound that waits for a full piece."""

    __slots__ = ("frames", "n_frames", "sample", "stream")

    def __init__(self, stream: Stream, n_frames: int) -> None:
        self.stream = stream
        self.n_frames = n_frames
        self.sample = 0
        self.frames: list[bytes] = []


class SentAudioTap:
    """All streams whose sent sound is reported. Owned by the tick."""

    def __init__(self, sending: SentFrames, emit_audio: Callable[[Link], None]) -> None:
        self._sending = sending
        self._emit_audio = emit_audio
        self._forwarding: dict[int, _Forwarding] = {}

    def use(self, stream: Stream, order: ForwardSent) -> None:
        """Start or stop. A second start only changes the length of the pieces."""
        known = self._forwarding.get(stream.number)
        if not order.enabled:
            self.end(stream)
        elif known is not None:
            known.n_frames = order.piece_ms // FRAME_MS
        else:
            self._forwarding[stream.number] = _Forwarding(stream, order.piece_ms // FRAME_MS)

    def end(self, stream: Stream) -> None:
        """Report the rest and stop for this stream."""
        forwarding = self._forwarding.pop(stream.number, None)
        if forwarding is not None:
            self._flush(forwarding)

    def run(self) -> None:
        """Take the frames of this tick. Call once per tick after the sending half."""
        for number, forwarding in self._forwarding.items():
            frame = self._sending.sent(number)
            if frame is None:
                self._flush(forwarding)
            else:
                forwarding.frames.append(frame.astype("<i2").tobytes())
            forwarding.sample += samples_in(FRAME_MS, forwarding.stream.rate_hz)
            if len(forwarding.frames) >= forwarding.n_frames:
                self._flush(forwarding)

    def _flush(self, forwarding: _Forwarding) -> None:
        if forwarding.frames:
            pcm = b"".join(forwarding.frames)
            self._emit_audio(SentAudio(forwarding.stream.number, forwarding.sample - len(pcm) // BYTES_PER_SAMPLE, pcm))
            forwarding.frames = []
