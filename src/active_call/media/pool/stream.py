"""One stream in the control process: one method per order.

Calls go in and orders go out on the link to the media process of the stream. Reports go to the callback given to `MediaPool.open_stream`,
not through this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from active_call.codec.table import CODECS
from active_call.media.enhance.gain import GainSettings
from active_call.media.link import messages as link
from active_call.media.link.messages import StreamClosed
from active_call.media.link.orders import DEFAULT_RATE_HZ
from active_call.media.pool.process import MediaProcess


class StreamLost(Struct, frozen=True):
    """The media process of `stream` has died. No more reports follow."""

    stream: int
    reason: str


class StreamCloser(Protocol):
    """Waits for the answer to a CloseStream."""

    async def close_stream(self, stream: int, process: MediaProcess) -> StreamClosed | None:
        """Close `stream` in `process`. None if there is no answer."""
        ...

    def discard_stream(self, stream: int, process: MediaProcess) -> None:
        """Close `stream` in `process` without waiting for the answer."""
        ...


class MediaStream:
    """One stream in a media process. The methods are the orders of `media.link`, one to one. They never block and never fail: StreamLost
    reports a dead process. `ip` and `port` go into the SDP (`port` 0: the stream has no RTP).
    """

    def __init__(
        self, stream: int, worker: int, process: MediaProcess, ip: str, port: int, closer: StreamCloser, rate_hz: int | None = None
    ) -> None:
        self.stream = stream
        self.worker = worker
        self.pid = process.pid
        self.ip = ip
        self.port = port
        self.rate_hz = rate_hz or DEFAULT_RATE_HZ
        """Rate of `queue_audio`: that of the first codec, or that of `open_stream`. Before `rate_known` it may still change."""
        self._has_rate = asyncio.Event()
        if rate_hz is not None:
            self._has_rate.set()
        self._is_configured = False
        self._process = process
        self._closer = closer

    def configure(self, order: link.ConfigureRtp) -> None:
        """Apply the result of offer/answer; may be repeated. SSRC, sequence numbers, timestamps and unchanged SRTP keys continue."""
        if not self._is_configured:
            self.rate_hz = CODECS[order.codec].sample_rate_hz
            self._is_configured = True
        self._process.send(order)
        self._has_rate.set()

    async def rate_known(self) -> None:
        """Return when `rate_hz` is final. Sound made for another rate would be played too fast or too slowly."""
        await self._has_rate.wait()

    def start_sending(self) -> None:
        """The peer has proved that it receives; see `link.StartSending`."""
        self._process.send(link.StartSending(self.stream))

    def use_messages(self, codec: str, rate_hz: int, *, silent_frames: int = 0) -> None:
        """A stream without RTP: its sound is in messages of `codec`, both ways; see `link.UseMessages`."""
        self._process.send(link.UseMessages(self.stream, codec, rate_hz, silent_frames))

    def feed_audio(self, data: bytes) -> None:
        """Feed the caller's sound to a stream without RTP; see `link.FeedAudio`."""
        self._process.send_sound(link.FeedAudio(self.stream, data))

    def forward_sent(self, enabled: bool, *, piece_ms: int = 20) -> None:
        """Start or stop `SentAudio` reports of what the stream sends."""
        self._process.send(link.ForwardSent(self.stream, enabled, piece_ms))

    def listen(
        self,
        *,
        detect: bool,
        forward_audio: bool,
        threshold: float = 0.5,
        min_speech_ms: int = 64,
        silence_ms: int = 100,
        pauses: bool = False,
        only_speech: bool = False,
    ) -> None:
        """Turn speech detection, pause reports and forwarding of the caller's sound on or off; see `link.Listen`."""
        self._process.send(link.Listen(self.stream, detect, forward_audio, threshold, min_speech_ms, silence_ms, pauses, only_speech))

    def hear_tones(self, *, digits: bool, tones: bool) -> None:
        """Detect in-band digits and tones; see `link.HearTones`."""
        self._process.send(link.HearTones(self.stream, digits, tones))

    def improve(self, *, denoise: bool, gain: GainSettings | None = None) -> None:
        """Apply noise suppression and gain control to the caller's sound."""
        self._process.send(link.ImproveSound(self.stream, denoise, gain))

    def start_ambience(self, path: str, offset: int, *, duck_level: float, normal_level: float, transition_speed: float) -> None:
        """Play background sound from a file of samples at `rate_hz`; see `link.StartAmbience`."""
        self._process.send(link.StartAmbience(self.stream, path, offset, duck_level, normal_level, transition_speed))

    def stop_ambience(self) -> None:
        """Stop the background sound."""
        self._process.send(link.StartAmbience(self.stream, ""))

    def queue_audio(self, play: str, pcm: bytes, *, end: bool = False) -> None:
        """Append s16le mono at `rate_hz` to `play`; see `link.QueueAudio`."""
        self._process.send(link.QueueAudio(self.stream, play, pcm, end))

    def stop(self, play: str = "", fade_ms: int = 20) -> None:
        """Stop `play`, or all plays."""
        self._process.send(link.StopPlay(self.stream, play, fade_ms))

    def finish(self, play: str, boundaries: Sequence[int]) -> None:
        """End `play` at the next of `boundaries` (in samples); see `link.FinishPlay`."""
        self._process.send(link.FinishPlay(self.stream, play, tuple(boundaries)))

    def pause(self, paused: bool, *, fade_ms: int = 0, back_ms: int = 0) -> None:
        """Pause or resume playing, at the exact sample or `back_ms` before it; see `link.PausePlay`."""
        self._process.send(link.PausePlay(self.stream, paused, fade_ms, back_ms))

    def pause_on_voice(self, armed: bool, *, voiced_ms: int = 32, unless_left_ms: int = 0, fade_ms: int = 20) -> None:
        """Pause the plays once as soon as the caller speaks, or disarm this; see `link.PauseOnVoice`."""
        self._process.send(link.PauseOnVoice(self.stream, armed, voiced_ms, unless_left_ms, fade_ms))

    def mute(self, muted: bool, track: str = "") -> None:
        """Send silence; with `track` (`plays`, `partner` or `caller`) only that track is silent."""
        self._process.send(link.MuteStream(self.stream, muted, track))

    def queue_music(self, pcm: bytes, *, end: bool = False) -> None:
        """Append s16le mono at `rate_hz` to the music, which continues under paused plays and loops after `end`."""
        self._process.send(link.QueueMusic(self.stream, pcm, end))

    def stop_music(self, fade_ms: int = 200) -> None:
        """Stop the music. No effect if there is none."""
        self._process.send(link.StopMusic(self.stream, fade_ms))

    def bridge(self, partner: MediaStream, *, one_way: bool = False) -> None:
        """Hear `partner` of the same process and, unless `one_way`, be heard by it. For streams in any processes use `MediaPool.join`."""
        self._process.send(link.BridgeStreams(self.stream, partner.stream, one_way))

    def unbridge(self, partner: MediaStream | None = None) -> None:
        """End that bridge, or all bridges."""
        self._process.send(link.UnbridgeStreams(self.stream, partner.stream if partner is not None else 0))

    def send_digits(self, digits: str, duration_ms: int = 160) -> None:
        """Send RFC 4733 events, one after another."""
        self._process.send(link.SendDigits(self.stream, digits, duration_ms))

    def start_recording(self, path: str, rate_hz: int = 16_000, flush_ms: int = 200) -> None:
        """Record both directions to a stereo file at 8 or 16 kHz. The file name extension selects the format."""
        self._process.send(link.StartRecording(self.stream, path, rate_hz, flush_ms))

    def pause_recording(self, paused: bool) -> None:
        """Record silence, or continue recording sound."""
        self._process.send(link.PauseRecording(self.stream, paused))

    def stop_recording(self) -> None:
        """Finish the file; RecordingEnded follows."""
        self._process.send(link.StopRecording(self.stream))

    async def close(self) -> StreamClosed | None:
        """Free the slot and the port. None if the process has died or does not answer in time. A second call has no effect."""
        return await self._closer.close_stream(self.stream, self._process)

    def discard(self) -> None:
        """Free the slot and the port without waiting for it."""
        self._closer.discard_stream(self.stream, self._process)
