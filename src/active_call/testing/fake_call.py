"""A leg and a media stream that exist only in virtual time: a caller for tests of whole calls, without SIP, sockets or processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from active_call.base.errors import LocalProtocolError
from active_call.contract.options import CallOption
from active_call.legs.events import (
    LegAnswered,
    LegEnded,
    LegEvent,
    LegHoldAnswered,
    LegMedia,
    LegReady,
    LegRinging,
    LegTransferProgress,
)
from active_call.media import link

RATE_HZ = 8000


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
    """Plays what is queued, 20 ms a tick of virtual time, and reports as the media process does."""

    stream = 1
    worker = 0
    pid = 1
    port = 40000
    ip = "127.0.0.1"
    rate_hz = RATE_HZ

    def __init__(self, report: Callable[[link.Report], None]) -> None:
        self._report = report
        self._plays: list[_Play] = []
        self._dismissed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self.muted = False
        self.digits_sent = ""
        self.recordings: list[str] = []
        self._is_recording = False
        self.closed = False
        self.listens = False
        self.hears_tones = (False, False)
        self.improvement: tuple[bool, object] = (False, None)
        self.n_ambience_stops = 0
        self.recording_is_paused = False
        self.music = b""
        """The music that plays, empty while there is none."""
        self.n_music = 0
        self.hears: set[FakeStream] = set()
        """The streams that are joined to this one, and heard by its caller."""
        self.muted_tracks: set[str] = set()
        self._tick()

    def listen(self, *, detect: bool, **_: object) -> None:
        self.listens = detect

    def hear_tones(self, *, digits: bool, tones: bool, country: str = "") -> None:
        self.hears_tones = digits, tones

    def improve(self, *, denoise: bool, gain: object = None) -> None:
        self.improvement = denoise, gain

    def stop_ambience(self) -> None:
        self.n_ambience_stops += 1

    def queue_music(self, pcm: bytes, *, end: bool = False) -> None:
        self.music += pcm
        self.n_music += end

    def stop_music(self, fade_ms: int = 200) -> None:
        self.music = b""

    def configure(self, **_: object) -> None:
        pass

    def queue_audio(self, play: str, pcm: bytes, *, end: bool = False, replace: bool = False) -> None:
        if replace:
            self.stop()
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

    def pause(self, paused: bool) -> None:
        self._paused = paused

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

    async def close(self) -> None:
        self.stop_recording()
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(0.02, self._tick)
        if self._paused or not self._plays:
            return
        play, now = self._plays[0], loop.time()
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
    """As `media.joints.Joint`, for streams that exist only here."""

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


@dataclass(slots=True)
class FakeLeg:
    """A leg whose far end is the test. `says` lets the caller speak; the recogniser is the test's to script."""

    caller: str = "sip:+15550001@example.com"
    callee: str = "sip:+15559999@example.com"
    kind: str = "sip"
    call_id: str = "fake-call-id"
    trunk: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    offer: str = "v=0"
    answers: bool = True
    answers_after_s: float = 1.0
    refuses: tuple[int, str] = (486, "Busy Here")
    """What a call to this leg is refused with, where it does not answer."""
    has_early_media: bool = False
    allowed: frozenset[str] = frozenset({"INVITE", "BYE", "REFER", "INFO", "MESSAGE"})
    has_telephone_events: bool = True
    attended_target: str = ""
    replaces: FakeLeg | None = None
    accepted_after_s: float = 0.0
    is_cancelled: bool = False
    """The caller gives up instead of being accepted."""
    agrees_to_hold: int = 200
    stream: FakeStream | None = None
    sink: Callable[[LegEvent], None] = lambda _: None
    ended: LegEnded | None = None
    hangup_headers: dict[str, str] = field(default_factory=dict)
    rejected: tuple[int, str] | None = None
    messages: list[str] = field(default_factory=list)
    referred_to: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    transfers_answered: list[bool] = field(default_factory=list)
    transfers_told: list[tuple[int, bool]] = field(default_factory=list)
    dialled: CallOption | None = None
    released: bool = False
    _sample: int = 0

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self.sink = sink

    def allows(self, method: str) -> bool:
        return method in self.allowed

    async def open_media(self, near: object = None) -> FakeStream:
        if self.stream is None:
            self.stream = FakeStream(lambda report: self.sink(LegMedia(report)))
        return self.stream

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        self.dialled = option
        self.call_id = call_id or self.call_id
        if self._is_over():
            raise LocalProtocolError("the call was ended before it was placed")
        self.sink(LegRinging(early_media=self.has_early_media, code=183 if self.has_early_media else 180))
        if self.has_early_media:
            await asyncio.sleep(0.1)
            self.sink(LegMedia(link.MediaStarted(1, asyncio.get_running_loop().time(), "127.0.0.1", 4000)))
        await asyncio.sleep(self.answers_after_s)
        if self._is_over():
            return
        if self.answers:
            self.sink(LegAnswered("v=0"))
            self.sink(LegReady())
        else:
            self.end("callee", "rejected", *self.refuses)

    def _is_over(self) -> bool:
        return self.ended is not None

    async def ring(self, *, early_media: bool = False) -> None:
        self.sink(LegRinging(early_media=early_media))

    async def accept(self, option: CallOption) -> None:
        await asyncio.sleep(self.accepted_after_s)
        if self.is_cancelled:
            self.end("caller", "cancelled", 487)
            return
        self.sink(LegAnswered("v=0"))
        await asyncio.sleep(0.05)
        self.sink(LegReady())

    def reject(self, code: int, reason: str) -> None:
        self.rejected = (code, reason)
        self.end("system", "rejected", code, reason)

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        self.hangup_headers = dict(headers)
        self.end(by, cause, None, reason)

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        self.messages.append(body)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        self.messages.append(f"INFO {digits}")

    def refer(self, target: str, headers: Mapping[str, str]) -> None:
        self.referred_to.append(target)

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        self.holds.append("inactive" if inactive else "sendonly" if on_hold else "sendrecv")
        refused = self.agrees_to_hold >= 300
        answer = LegHoldAnswered(on_hold != refused, self.agrees_to_hold)
        asyncio.get_running_loop().call_later(0.1, self.sink, answer)

    def answer_transfer(self, accepted: bool) -> None:
        self.transfers_answered.append(accepted)

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        self.transfers_told.append((code, final))

    async def release(self) -> dict[str, float]:
        self.released = True
        if self.stream is not None:
            await self.stream.close()
        return {"packets_sent": 1}

    # -- the far end

    def end(self, by: str, cause: str, code: int | None = None, reason: str = "") -> None:
        """The far end, or somebody, ends the call."""
        if self.ended is None:
            self.ended = LegEnded(by=by, cause=cause, code=code, reason=reason)
            self.sink(self.ended)

    def told(self, code: int, *, final: bool = True, refused: bool = False) -> None:
        """The peer tells how a REFER goes."""
        self.sink(LegTransferProgress(code, "", final, refused))

    def press(self, digit: str) -> None:
        self.sink(LegMedia(link.DigitReceived(1, digit, 100, asyncio.get_running_loop().time())))

    async def speak(self, duration_s: float = 1.0) -> None:
        """The caller makes a sound of this length: detection starts 100 ms after it and ends 100 ms after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sample = int(began * 16_000)
        await asyncio.sleep(0.1)
        self.sink(LegMedia(link.SpeechStarted(1, began, sample, loop.time(), 0.9)))
        await asyncio.sleep(duration_s)
        ended = began + duration_s
        self.sink(LegMedia(link.SpeechEnded(1, ended, int(ended * 16_000), loop.time(), int(duration_s * 1000))))
