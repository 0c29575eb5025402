"""Messages of a client pass through the leg unchanged, in both directions: the media process decodes and encodes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from active_call.contract.options import CallOption
from active_call.legs.events import LegEnded, LegMedia
from active_call.legs.websocket.formats import FormatError, sound_format
from active_call.legs.websocket.leg import MAX_AHEAD_S, WebSocketLeg
from active_call.media.link import messages as link
from active_call.testing.virtual_time import run_virtually

NO_SOUND = b"\x7b\x05\xff"
"""Five frames of 20 ms as its first bytes say, but their bytes cannot be shared out equally: not one that libopus decodes."""


class Stream:
    """What the media process gets."""

    def __init__(self) -> None:
        self.fed: list[bytes] = []
        self.formats: list[Any] = []

    def feed_audio(self, data: bytes) -> None:
        self.fed.append(data)

    def use_messages(self, codec: str, rate_hz: int, *, silent_frames: int = 0) -> None:
        self.formats.append((codec, rate_hz, silent_frames))


class Scene:
    """An answered leg."""

    def __init__(self, codec: str | None, rate_hz: int | None = None) -> None:
        self.stream, self.sent, self.events = Stream(), [], []  # type: ignore[var-annotated]
        self.leg = WebSocketLeg(self, sound_format(codec, rate_hz), self.sent.append, caller="", callee="", call_id="1", peer="")  # type: ignore[arg-type]
        self.leg.attach(self.events.append)

    async def open_stream(self, report: Callable[[Any], None], *, rtp: bool, rate_hz: int, near: object) -> Stream:
        self.report, self.rate_hz = report, rate_hz
        assert not rtp
        return self.stream

    @property
    def media(self) -> list[Any]:
        return [event.report for event in self.events if isinstance(event, LegMedia)]


def play(story: Callable[[Scene], Awaitable[None]], codec: str | None, rate_hz: int | None = None) -> Scene:
    async def run() -> Scene:
        scene = Scene(codec, rate_hz)
        scene.leg.hear(b"\x48" * 40)  # before there is a stream: lost
        await scene.leg.accept(CallOption())
        await story(scene)
        return scene

    return run_virtually(run())


@pytest.mark.parametrize(
    ("codec", "rate_hz", "stream_hz", "told"),
    [
        ("pcm", 24_000, 48_000, ("pcm", 24_000, 0)),
        (None, None, 16_000, ("pcm", 16_000, 0)),
        ("PCMU", None, 8000, ("pcmu", 8000, 0)),
        ("g722", None, 16_000, ("g722", 16_000, 0)),
        ("opus", None, 16_000, ("opus", 16_000, 0)),
    ],
)
def test_media_process_is_told_the_format(codec: str | None, rate_hz: int | None, stream_hz: int, told: Any) -> None:
    async def nothing(scene: Scene) -> None: ...

    scene = play(nothing, codec, rate_hz)
    assert (scene.rate_hz, scene.stream.formats) == (stream_hz, [told])


@pytest.mark.parametrize("codec", ["pcm", "pcmu", "g722", "opus"])
def test_messages_pass_through_as_they_are(codec: str) -> None:
    async def story(scene: Scene) -> None:
        ours = bytes(range(80))
        scene.report(link.MessageSent(1, ours))
        assert len(scene.sent) == 1 and scene.sent[0] is ours
        for theirs in (NO_SOUND, b"\x48" + bytes(59)):
            scene.leg.hear(theirs)
            assert scene.stream.fed[-1] is theirs
        scene.report(link.OrderRefused(1, "FeedAudio", "a malformed packet"))

    scene = play(story, codec)
    assert scene.media == [link.OrderRefused(1, "FeedAudio", "a malformed packet")]  # sound itself is no event of the call


def test_packet_that_is_visibly_no_opus_is_an_error_at_once() -> None:
    async def story(scene: Scene) -> None:
        for data in (b"", b"\x03"):
            with pytest.raises(FormatError, match="not an Opus packet"):
                scene.leg.hear(data)

    assert play(story, "opus").stream.fed == []


def test_sound_far_ahead_is_dropped_without_cutting_samples() -> None:
    async def story(scene: Scene) -> None:
        second = bytes(32_000)
        for _ in range(7):
            scene.leg.hear(second)
        scene.leg.hear(bytes(641))
        assert len(scene.stream.fed) == MAX_AHEAD_S + 1
        assert scene.stream.fed[-1] == b"\0"  # half a sample, so that the next message begins within one
        await asyncio.sleep(1.5)
        scene.leg.hear(bytes(639))

    scene = play(story, "pcm")
    assert scene.stream.fed[-1] == bytes(639)
    assert scene.leg.n_dropped == 2 * 32_000 + 640


def test_nothing_passes_after_the_end() -> None:
    async def story(scene: Scene) -> None:
        scene.leg.hang_up(headers={}, by="system", cause="done", reason="")
        scene.report(link.MessageSent(1, b"x"))
        scene.leg.hear(bytes(640))

    scene = play(story, "pcm")
    assert (scene.sent, scene.stream.fed) == ([], [])


def test_sound_of_an_ended_call_goes_no_further() -> None:
    """A server that ends all calls at once must not handle their sound until each stream is closed."""

    async def story() -> None:
        scene = Scene("pcmu")
        await scene.leg.accept(CallOption())
        sound, ended = link.CallerAudio(1, 0, b"\0" * 320), link.RecordingEnded(1, "a.wav", 1000)
        scene.report(sound)
        assert scene.media == [sound]
        scene.leg.hang_up(headers={}, by="system", cause="shutdown", reason="")
        scene.report(sound)
        scene.report(ended)
        assert scene.media == [sound, ended]

    run_virtually(story())


@pytest.mark.parametrize(("back_after_s", "is_over"), [(None, True), (59.0, False)])
def test_call_whose_socket_does_not_come_back_ends(back_after_s: float | None, is_over: bool) -> None:
    heard: list[bytes] = []

    async def story(scene: Scene) -> None:
        scene.leg.disconnect(60.0)
        scene.report(link.MessageSent(1, b"lost"))
        assert not scene.leg.is_connected
        if back_after_s is not None:
            await asyncio.sleep(back_after_s)
            scene.leg.connect(heard.append)
            assert scene.leg.is_connected
        await asyncio.sleep(120)
        scene.report(link.MessageSent(1, b"sound"))

    scene = play(story, "pcm")
    ended = [event for event in scene.events if isinstance(event, LegEnded)]
    assert [(one.by, one.cause) for one in ended] == ([("system", "no_media")] if is_over else [])
    assert (scene.sent, heard) == ([], [] if is_over else [b"sound"])
