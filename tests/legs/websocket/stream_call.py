"""A whole call over a carrier's media stream in virtual time: simulator, leg, call registry, and a media stream without a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from active_call.app.app import App
from active_call.call.handle import CallHandle
from active_call.call.opening.routing import ChosenPlaybook
from active_call.codec import g711
from active_call.legs.events import LegMedia
from active_call.legs.websocket.carriers.leg import CarrierStreamLeg
from active_call.legs.websocket.carriers.messages import Started, read_message
from active_call.legs.websocket.carriers.profile import stream_profile
from active_call.media.link import messages as link
from active_call.testing.fakes.stream import FakeStream
from active_call.testing.media_streams import STREAMS, CarrierStream
from active_call.testing.virtual_caller import Caller
from active_call.testing.virtual_server import CallResult, VirtualServer
from active_call.testing.virtual_time import run_virtually

TICK_S = 0.02
BOOK = """---
llm: {provider: script, greeting: Welcome to the bakery.}
---
# Scene: main

## (?i)loaf
We have rye and wheat today, and a fine sourdough from this morning too.

## (?i)bye
Goodbye then. <hangup/>
"""


def frame(codec: str, rate_hz: int, level: int) -> bytes:
    """20 ms in pcm or in µ-law, in which all samples are the same."""
    samples = np.full(rate_hz // 50, level, "<i2").tobytes()
    return samples if codec == "pcm" else g711.encode_bytes(samples, is_alaw=False)


class SoundingStream(FakeStream):
    """Also sends: a tone for each tick that plays, silence for all others. What is fed is kept."""

    def __init__(self, report: Callable[[Any], None]) -> None:
        super().__init__(report)
        self.fed = bytearray()
        self._messages: tuple[str, int, int] | None = None
        self._n_silent = 0
        self._told = 0
        self._sending = asyncio.get_running_loop().call_later(TICK_S, self._send)

    def feed_audio(self, data: bytes) -> None:
        self.fed += data

    def use_messages(self, codec: str, rate_hz: int, *, silent_frames: int = 0) -> None:
        self._messages = codec, rate_hz, silent_frames

    def _send(self) -> None:
        self._sending = asyncio.get_running_loop().call_later(TICK_S, self._send)
        heard = sum(play.heard for play in self._plays) + self._ended_samples
        sounds = heard != self._told
        self._told = heard
        self._n_silent = 0 if sounds else self._n_silent + 1
        if self._messages is not None:
            codec, rate_hz, silent_frames = self._messages
            is_left_out = 0 < silent_frames < self._n_silent
            self._report(link.MessageSent(1, b"" if is_left_out else frame(codec, rate_hz, 4000 if sounds else 0)))

    _ended_samples = 0

    def _end(self, play: Any, *, completed: bool) -> None:
        self._ended_samples += play.heard
        super()._end(play, completed=completed)

    def discard(self) -> None:
        self._sending.cancel()
        super().discard()


class Pool:
    """As `MediaPool`, for one stream."""

    stream: SoundingStream

    async def open_stream(self, report: Callable[[Any], None], *, rate_hz: int, rtp: bool, near: object = None) -> SoundingStream:
        assert not rtp
        self.stream = SoundingStream(report)
        return self.stream


class StreamCall:
    """One call. `caller` says and hears as in other virtual calls; `carrier` is the simulator; `leg` is ours."""

    def __init__(self, name: str, server: VirtualServer, carrier: CarrierStream, leg: CarrierStreamLeg, caller: Caller, pool: Pool) -> None:
        self.carrier, self.leg, self.caller, self.server = carrier, leg, caller, server
        self.name, self.pool = name, pool
        self.is_closed = False

    @property
    def handle(self) -> CallHandle:
        """The call, as the API holds it."""
        return next(iter(self.server.registry.calls.values()))

    async def says(self, text: str, duration_s: float = 1.0) -> None:
        """The caller speaks: a tone over the stream, which the stream's detection tells as speech."""
        loop = asyncio.get_running_loop()
        said = frame("pcm" if self.name in ("vonage", "exotel") else "pcmu", 16_000 if self.name == "vonage" else 8000, 3000)
        began = loop.time()
        for index in range(round(duration_s / TICK_S)):
            self.carrier.say(said)
            await asyncio.sleep(TICK_S)
            if index == 5:
                self.leg._sink(LegMedia(link.SpeechStarted(1, began, int(began * 16_000), loop.time(), 0.9)))
        ended = loop.time()
        self.leg._sink(LegMedia(link.SpeechEnded(1, ended, int(ended * 16_000), ended, int(duration_s * 1000))))
        self.server._engines.recogniser.script.append(text)  # type: ignore[attr-defined]


Story = Callable[[StreamCall], Awaitable[None]]


def stream_call(
    name: str, story: Story, tmp_path: Path, *, parameters: Mapping[str, str] | None = None, book: str = BOOK, buffer_s: float = 0.0
) -> tuple[CallResult, StreamCall]:
    """Play `story` in a call of the carrier `name`."""
    path = tmp_path / "book.md"
    path.write_text(book, encoding="utf-8")

    async def run() -> tuple[CallResult, StreamCall]:
        async with httpx.AsyncClient() as http, VirtualServer(App(), http, playbook=path) as server:
            call = _begin(name, server, parameters or {}, path, buffer_s)
            playing = asyncio.ensure_future(_play(call))
            try:
                await story(call)
                await call.caller.is_over()
                await asyncio.sleep(1)
            finally:
                playing.cancel()
            await server.stop()
            return server.result(call.caller), call

    return run_virtually(run())


def _begin(name: str, server: VirtualServer, parameters: Mapping[str, str], path: Path, buffer_s: float) -> StreamCall:
    profile = stream_profile(name)
    assert profile is not None
    first: list[str | bytes] = []
    carrier = STREAMS[name](first.append, parameters, buffer_s=buffer_s)
    carrier.begin()
    started = [one for one in (read_message(profile, message) for message in first) if isinstance(one, Started)]
    assert len(started) == 1
    pool = Pool()
    call: list[StreamCall] = []

    def over() -> None:
        call[0].is_closed = True

    leg = CarrierStreamLeg(
        pool,
        profile,
        started[0],
        carrier.take,
        lambda: None,
        over,
        caller=started[0].caller or "+1555",
        callee=started[0].callee,
        peer="",  # type: ignore[arg-type]
    )
    carrier._send = leg.receive
    server._parties[leg.call_id] = caller = Caller(_Watched(leg), server._engines.recogniser)  # type: ignore[arg-type]
    call.append(StreamCall(name, server, carrier, leg, caller, pool))
    variables = dict(started[0].parameters)
    server.registry.handle_incoming(leg, router=ChosenPlaybook(server.registry._services.playbooks.load(str(path))), variables=variables)
    return call[0]


class _Watched:
    """What `Caller` needs of a leg."""

    dialled = None
    ended = None

    def __init__(self, leg: CarrierStreamLeg) -> None:
        self._leg = leg


async def _play(call: StreamCall) -> None:
    loop = asyncio.get_running_loop()
    while True:
        call.carrier.play_until(loop.time())
        await asyncio.sleep(TICK_S / 2)
