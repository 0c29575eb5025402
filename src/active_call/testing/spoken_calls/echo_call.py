"""One call whose caller's side sends the agent's own voice back, in virtual time.

It has the whole call machine and the receiving half of the media process, without a wire. The echo follows the playout: while the agent is
paused, it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from active_call.app.app import App
from active_call.contract import events
from active_call.legs.events import LegMedia
from active_call.media.link.messages import Link
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.testing.fakes.stream import FakeStream, _Play
from active_call.testing.sound.audio import FRAME_SAMPLES, RATE_HZ, Pcm
from active_call.testing.spoken_calls.line import Line
from active_call.testing.spoken_calls.recogniser import CachedRecogniser, OfflineRecogniser
from active_call.testing.virtual_server import VirtualServer, WatchedLeg
from active_call.testing.virtual_time import run_virtually

LONGEST_S = 60.0
AFTER_S = 3.0
"""How long the call goes on after the agent's first statement has ended."""


@dataclass(frozen=True, slots=True)
class Echo:
    """What comes back: `response` (1.0 alone: the sound itself) at `level` of the sound, `delay_s` later."""

    delay_s: float
    level: float
    response: Pcm | None = None


@dataclass(slots=True)
class EchoedCall:
    """What became of the agent's statement. Seconds since it began."""

    paused_at: list[float] = field(default_factory=list)
    cut_at: float | None = None
    lasted_s: float = 0.0
    heard: list[str] = field(default_factory=list)
    """What was recognised of the caller."""


def play_echo(
    playbook: Path,
    say: Callable[[str], Pcm],
    background: Pcm,
    cached: CachedRecogniser,
    *,
    echo: Echo | None,
    said: tuple[float, Pcm] | None = None,
    is_known: bool = True,
) -> EchoedCall:
    """Call `playbook`, whose greeting is a long statement, spoken by `say`. `said`: what the caller says, so many seconds into it.

    `is_known`: the media process learns what it sends; without that it cannot tell an echo.
    """
    return run_virtually(_play(playbook, say, background, cached, echo, said, is_known=is_known))


async def _play(
    playbook: Path,
    say: Callable[[str], Pcm],
    background: Pcm,
    cached: CachedRecogniser,
    echo: Echo | None,
    said: tuple[float, Pcm] | None,
    *,
    is_known: bool,
) -> EchoedCall:
    async with httpx.AsyncClient() as http:
        server = VirtualServer(App(), http, playbook=playbook, recogniser=OfflineRecogniser(cached))
        server._engines.synthesiser = _Voice(say)
        async with server:
            leg = _EchoLeg(direction="inbound", allowed=frozenset({"INVITE", "BYE"}))
            party = server.party(leg)
            line = _EchoLine(leg, background, echo, is_known=is_known)
            server.registry.handle_incoming(leg)  # type: ignore[arg-type]
            running = asyncio.ensure_future(line.run())
            try:
                return await _watch(leg, line, party.events, said)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                leg.end("caller", "remote_bye")
                await asyncio.sleep(1.0)
                await server.stop()


async def _watch(leg: _EchoLeg, line: _EchoLine, seen: list[events.Event], said: tuple[float, Pcm] | None) -> EchoedCall:
    loop, call = asyncio.get_running_loop(), EchoedCall()
    began: float | None = None
    ended: float | None = None
    was_paused = False
    while loop.time() < LONGEST_S and (ended is None or loop.time() < ended + AFTER_S):
        line.follow()
        stream, now = leg.stream, loop.time()
        if began is None and any(isinstance(event, events.TrackStart) for event in seen):
            began = now
        if began is not None:
            if stream is not None and stream.paused and not was_paused:
                call.paused_at.append(now - began)
            was_paused = stream is not None and stream.paused
            if said is not None and now - began >= said[0]:
                line.give(said[1])
                said = None
            if ended is None and any(isinstance(event, events.TrackEnd | events.Interruption) for event in seen):
                ended, call.lasted_s = now, now - began
                call.cut_at = call.lasted_s if any(isinstance(event, events.Interruption) for event in seen) else None
        await asyncio.sleep(0.01)
    call.heard = [event.text for event in seen if isinstance(event, events.AsrFinal) and event.text]
    return call


class _Voice(WholeTextToSpeech):
    name = "voice"
    rate_hz = RATE_HZ

    def __init__(self, say: Callable[[str], Pcm]) -> None:
        self._say = say

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.05)
        yield np.concatenate((self._say(text.strip()), np.zeros(RATE_HZ // 5, np.int16))).tobytes()

    async def close(self) -> None:
        """Nothing to close."""


class _EchoStream(FakeStream):
    """Keeps what it plays, by the time of the loop."""

    def __init__(self, report: Callable[[Link], None]) -> None:
        super().__init__(report)
        self._pcm: dict[str, bytes] = {}
        self.played: Pcm = np.zeros(round((LONGEST_S + 10) * RATE_HZ), np.int16)

    def queue_audio(self, play: str, pcm: bytes, *, end: bool = False) -> None:
        self._pcm[play] = self._pcm.get(play, b"") + pcm
        super().queue_audio(play, pcm, end=end)

    def _play(self, play: _Play) -> None:
        before = play.heard
        super()._play(play)
        at = round(asyncio.get_running_loop().time() * RATE_HZ)
        self.played[at : at + play.heard - before] = np.frombuffer(self._pcm[play.name], np.int16)[before : play.heard]


class _EchoLeg(WatchedLeg):
    async def open_media(self, near: object = None) -> FakeStream:
        if self.stream is None:
            self.stream = _EchoStream(lambda report: self.sink(LegMedia(report)))  # type: ignore[arg-type]
            self.streams.append(self.stream)
        return self.stream


class _EchoLine(Line):
    def __init__(self, leg: _EchoLeg, background: Pcm, echo: Echo | None, *, is_known: bool) -> None:
        super().__init__(lambda report: leg.sink(LegMedia(report)) if leg.ended is None else None, background)  # type: ignore[arg-type]
        self._leg, self._echo, self._is_known = leg, echo, is_known
        self._order: object = None

    def follow(self) -> None:
        """Listen as the call orders."""
        stream = self._leg.stream
        if stream is not None and stream.listen_order is not None and stream.listen_order is not self._order:
            self._order = stream.listen_order
            self.listen(stream.listen_order)

    def _frame(self) -> Pcm:
        frame, stream = super()._frame().astype(np.int32), self._leg.stream
        if not isinstance(stream, _EchoStream):
            return frame.astype(np.int16)
        end = round(asyncio.get_running_loop().time() * RATE_HZ)
        if self._is_known and end >= FRAME_SAMPLES:
            self._pipeline.echo.sent(self._n_ticks, np.zeros(1, np.intp), stream.played[None, end - FRAME_SAMPLES : end])
        if self._echo is not None:
            frame += (self._returned(self._echo, stream.played, end) * self._echo.level).astype(np.int32)
        sent: Pcm = np.clip(frame, -32768, 32767).astype(np.int16)
        return sent

    def _returned(self, echo: Echo, played: Pcm, end: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        end -= round(echo.delay_s * RATE_HZ)
        response = np.ones(1) if echo.response is None else np.asarray(echo.response, np.float64)
        first = end - FRAME_SAMPLES - len(response) + 1
        if end < FRAME_SAMPLES:
            return np.zeros(FRAME_SAMPLES)
        before = played[max(first, 0) : end].astype(np.float64)
        return np.convolve(np.concatenate((np.zeros(max(-first, 0)), before)), response, "valid")[:FRAME_SAMPLES]
