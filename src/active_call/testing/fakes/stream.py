"""A media stream that exists only in virtual time: it plays and reports as the media process does, without a process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from active_call.media.link import messages as link

RATE_HZ = 8000
TICK_S = 0.02


@dataclass(slots=True)
class _Play:
    name: str
    queued: int = 0
    heard: int = 0
    closed: bool = False
    began: bool = False
    low: bool = False
    cut: bool = False


class FakeStream:
    """Plays the queue, `TICK_S` per tick of virtual time, and reports as the media process does."""

    stream = 1
    worker = 0
    pid = 1
    port = 40000
    ip = "127.0.0.1"
    rate_hz = RATE_HZ

    async def rate_known(self) -> None:
        """The rate never changes here."""

    def __init__(self, report: Callable[[link.Report], None], *, is_configured: bool = True) -> None:
        self._report = report
        self.is_configured = is_configured
        """Until `configure` a stream takes orders but plays nothing: there is nowhere to send to."""
        self._plays: list[_Play] = []
        self._dismissed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.paused = False
        self.muted = False
        self.pauses_on_voice = False
        """The stream pauses playback by itself when the caller speaks."""
        self.n_pauses_on_voice = 0
        self.digits_sent = ""
        self.recordings: list[str] = []
        self._is_recording = False
        self.closed = False
        self.listens = False
        self.listen_order: link.Listen | None = None
        """How the call listens to its caller now; None before the first order."""
        self.hears_tones = (False, False)
        self.improvement: tuple[bool, object] = (False, None)
        self.ambience = ""
        self.n_ambience_stops = 0
        self.recording_is_paused = False
        self.music = b""
        """The music that plays, empty while there is none."""
        self.n_music = 0
        self.hears: set[FakeStream] = set()
        """The streams that are joined to this one, and heard by its caller."""
        self.muted_tracks: set[str] = set()
        self._opened_at = asyncio.get_running_loop().time()

    @property
    def is_playing(self) -> bool:
        """Something is queued that has not ended."""
        return bool(self._plays)

    def listen(self, *, detect: bool, forward_audio: bool = False, **settings: float) -> None:
        self.listens = detect
        self.listen_order = link.Listen(self.stream, detect, forward_audio, **settings)  # type: ignore[arg-type]

    def hear_tones(self, *, digits: bool, tones: bool) -> None:
        self.hears_tones = digits, tones

    def improve(self, *, denoise: bool, gain: object = None) -> None:
        self.improvement = denoise, gain

    def start_ambience(self, path: str, offset: int, **levels: float) -> None:
        self.ambience = path

    def stop_ambience(self) -> None:
        self.n_ambience_stops += 1

    def queue_music(self, pcm: bytes, *, end: bool = False) -> None:
        self.music += pcm
        self.n_music += end

    def stop_music(self, fade_ms: int = 200) -> None:
        self.music = b""

    def configure(self, order: link.ConfigureRtp) -> None:
        self.is_configured = True
        self._arm()

    def start_sending(self) -> None:
        pass

    def queue_audio(self, play: str, pcm: bytes, *, end: bool = False) -> None:
        if play in self._dismissed:
            self._dismissed -= {play} if end else set()
            return
        found = next((entry for entry in self._plays if entry.name == play), None)
        if found is None:
            found = _Play(play)
            self._plays.append(found)
        found.queued += 0 if found.cut else len(pcm) // 2
        found.low = found.low and not pcm
        found.closed = found.closed or end
        self._arm()

    def finish(self, play: str, boundaries: Sequence[int]) -> None:
        for entry in self._plays:
            end = next((boundary for boundary in boundaries if boundary > entry.heard), None)
            if entry.name == play and end is not None:
                entry.cut = entry.cut or end < entry.queued or not entry.closed
                entry.queued = end

    def stop(self, play: str = "", fade_ms: int = 20) -> None:
        self._dismissed -= {play} if play else self._dismissed
        for entry in [entry for entry in self._plays if play in ("", entry.name)]:
            self._end(entry, completed=False)

    def pause(self, paused: bool, *, fade_ms: int = 0, back_ms: int = 0) -> None:
        self.paused = paused
        self._arm()

    def pause_on_voice(self, armed: bool, *, voiced_ms: int = 32, unless_left_ms: int = 0, fade_ms: int = 20) -> None:
        self.pauses_on_voice = armed

    def pause_by_voice(self) -> bool:
        """The caller speaks: pause if the call asked for it. True if it has paused now."""
        if not self.pauses_on_voice or self.paused or not (self._plays and self._plays[0].began):
            return False
        self.pauses_on_voice = False
        self.pause(True)
        self.n_pauses_on_voice += 1
        return True

    def mute(self, muted: bool, track: str = "") -> None:
        if track:
            (self.muted_tracks.add if muted else self.muted_tracks.discard)(track)
        else:
            self.muted = muted

    def send_digits(self, digits: str, duration_ms: int = 160) -> None:
        self.digits_sent += digits

    def start_recording(self, path: str, rate_hz: int = 16_000, flush_ms: int = 200) -> None:
        self.recordings.append(path)
        self._is_recording = True

    def pause_recording(self, paused: bool) -> None:
        self.recording_is_paused = paused

    def stop_recording(self) -> None:
        if self._is_recording:
            self._is_recording = False
            self._report(link.RecordingEnded(1, self.recordings[-1], 1000))

    async def close(self) -> link.StreamClosed | None:
        await asyncio.sleep(0)
        if self.closed:
            return None
        self.discard()
        return link.StreamClosed(self.stream, 1, 0, 0, 0, 0, 0.0)

    def discard(self) -> None:
        self.stop_recording()
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        """Tick on the stream's own grid while there is something to play."""
        if self._timer is None and self._plays and self.is_configured and not (self.paused or self.closed):
            loop = asyncio.get_running_loop()
            n_ticks = math.floor((loop.time() - self._opened_at) / TICK_S + 1e-6) + 1
            self._timer = loop.call_at(self._opened_at + n_ticks * TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._plays and not self.paused:
            self._play(self._plays[0])
        self._arm()

    def _play(self, play: _Play) -> None:
        now = asyncio.get_running_loop().time()
        step = min(RATE_HZ // 50, play.queued - play.heard)
        if step > 0:
            play.heard += step
            if not play.began:
                play.began = True
                self._report(link.PlayStarted(1, play.name, now, now))
        left = play.queued - play.heard
        if left <= 2 * RATE_HZ and not (play.closed or play.low):
            play.low = True
            self._report(link.PlayLow(1, play.name, left * 1000 / RATE_HZ))
        if (play.closed or play.cut) and play.heard >= play.queued:
            if not play.closed:
                self._dismissed.add(play.name)
            self._end(play, completed=not play.cut)

    def _end(self, play: _Play, *, completed: bool) -> None:
        self._plays.remove(play)
        now = asyncio.get_running_loop().time()
        self._report(
            link.PlayEnded(1, play.name, completed, play.heard * 1000 / RATE_HZ, play.queued * 1000 / RATE_HZ, now),
        )


class FakeJoint:
    """As `media.pool.relay.Relay`, for streams that exist only here."""

    def __init__(self, stream: FakeStream, partner: FakeStream, *, one_way: bool) -> None:
        self._stream, self._partner = stream, partner
        stream.hears.add(partner)
        if not one_way:
            self.open_both_ways()

    def open_both_ways(self) -> None:
        self._partner.hears.add(self._stream)

    def close(self) -> None:
        self._stream.hears.discard(self._partner)
        self._partner.hears.discard(self._stream)


async def join_fakes(stream: FakeStream, partner: FakeStream, *, one_way: bool = False) -> FakeJoint:
    """As `MediaPool.join`."""
    await asyncio.sleep(0)
    return FakeJoint(stream, partner, one_way=one_way)
