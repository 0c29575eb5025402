"""The call's sound over sockets that this server opens: what the far end gets, what the caller hears, and a far end that fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from active_call.base.errors import ActiveCallError
from active_call.call.sound.media_sockets import MediaSockets
from active_call.call.sound.taps import CALLERS, OURS
from active_call.contract import events
from active_call.contract.options import CallOption, MediaPassOption, MonitorOption
from active_call.testing.virtual_time import run_virtually


class FarEnd:
    """An open socket: keeps what it gets, says what the test puts into `says`, and closes at None."""

    def __init__(self) -> None:
        self.got: list[bytes | str] = []
        self.says: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.is_closed = False
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message: bytes | str) -> None:
        await self.reads.wait()
        self.got.append(message)

    async def __aiter__(self) -> AsyncIterator[bytes | str]:
        while (message := await self.says.get()) is not None:
            yield message

    async def close(self) -> None:
        self.is_closed = True


class Scene:
    """A call with a stream, and far ends that are opened one after another."""

    def __init__(self, option: CallOption, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.ends: list[FarEnd] = []
        self.opened: list[tuple[str, dict[str, str]]] = []
        self.told: list[events.Event] = []
        self.queued: list[tuple[bytes, bool]] = []
        self.listeners: list[Callable[[int, bytes], None]] = []
        self.tasks: list[asyncio.Task[None]] = []
        stream = SimpleNamespace(rate_hz=8000, queue_audio=lambda play, pcm, end=False: self.queued.append((pcm, end)))
        facts = SimpleNamespace(session_id="s.1", caller="sip:a@b", callee="sip:c@d")
        state = SimpleNamespace(option=option, facts=facts, trust=SimpleNamespace(hosts=frozenset()), leg=SimpleNamespace(stream=stream))
        ports = SimpleNamespace(emit=self.told.append, spawn=self._spawn, later=lambda do: do(), log=logging.getLogger("test"))
        self.sockets = MediaSockets(state, ports, SimpleNamespace(add=self._add), self._open)  # type: ignore[arg-type]

    def _spawn(self, work: Any, name: str) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def _add(self, listener: Callable[[int, bytes], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    async def _open(self, url: str, headers: Mapping[str, str] | None = None, trusted: object = None) -> FarEnd:
        self.opened.append((url, dict(headers or {})))
        if self.refuses:
            raise ActiveCallError("nobody there")
        self.ends.append(FarEnd())
        return self.ends[-1]

    def hear(self, side: int, pcm: bytes) -> None:
        for listener in list(self.listeners):
            listener(side, pcm)


def play(option: CallOption, work: Callable[[Scene], Awaitable[None]], *, refuses: bool = False) -> None:
    async def body() -> None:
        scene = Scene(option, refuses=refuses)
        scene.sockets.observe(events.Ringing())
        assert not scene.tasks
        scene.sockets.observe(events.Answer())
        await asyncio.sleep(0.01)
        try:
            await work(scene)
        finally:
            for task in scene.tasks:
                task.cancel()
            await asyncio.gather(*scene.tasks, return_exceptions=True)
        assert not scene.listeners
        assert all(end.is_closed for end in scene.ends)

    run_virtually(body())


def test_callers_sound_leaves_in_pieces_at_the_wanted_rate_and_what_comes_back_is_played() -> None:
    async def work(scene: Scene) -> None:
        (end,) = scene.ends
        for _ in range(50):
            scene.hear(CALLERS, b"\1\0" * 320)
            scene.hear(OURS, b"\7\0" * 320)
        await asyncio.sleep(0.01)
        assert {len(message) for message in end.got} == {640}
        assert 14_000 < sum(map(len, end.got)) <= 16_000  # a second at 8 kHz, but for what the filter holds back
        assert b"\7\0" not in b"".join(message for message in end.got if isinstance(message, bytes))
        end.says.put_nowait(b"\2\0" * 24_000)
        await asyncio.sleep(0.5)
        assert not any(is_end for _, is_end in scene.queued)
        await asyncio.sleep(1)
        assert scene.queued[-1][1] and sum(len(pcm) for pcm, _ in scene.queued) == pytest.approx(16_000, abs=200)

    option = MediaPassOption(url="ws://far/audio", input_sample_rate=24_000, output_sample_rate=8000, packet_size=640)
    play(CallOption(media_pass=option), work)


def test_sound_that_comes_far_ahead_of_time_is_dropped() -> None:
    async def work(scene: Scene) -> None:
        for _ in range(20):
            scene.ends[0].says.put_nowait(b"\2\0" * 8000)
        await asyncio.sleep(0.1)
        assert sum(len(pcm) for pcm, _ in scene.queued) <= 5 * 16_000

    play(CallOption(media_pass=MediaPassOption(url="ws://far", input_sample_rate=8000)), work)


def test_far_end_that_does_not_read_misses_the_oldest_sound() -> None:
    async def work(scene: Scene) -> None:
        (end,) = scene.ends
        end.reads.clear()
        for n in range(300):
            scene.hear(CALLERS, bytes((n % 250, 0)) * 320)
            await asyncio.sleep(0)
        end.reads.set()
        await asyncio.sleep(0.1)
        assert sum(map(len, end.got)) <= 2 * 32_000 + 2 * 640
        assert end.got[-1] == bytes((299 % 250, 0)) * 320

    play(CallOption(media_pass=MediaPassOption(url="ws://far", ptime=20)), work)


def test_monitor_says_which_call_it_is_and_gets_both_sides() -> None:
    async def work(scene: Scene) -> None:
        assert scene.opened == [("wss://far/tap?x=1&session_id=s.1", {"Authorization": "k"})]
        scene.hear(OURS, b"\1\0" * 320)
        scene.hear(CALLERS, b"\2\0" * 320)
        await asyncio.sleep(0.01)
        first, *pieces = scene.ends[0].got
        assert json.loads(first)["sessionId"] == "s.1"
        assert sorted(pieces) == [b"\0" + b"\1\0" * 320, b"\1" + b"\2\0" * 320]  # type: ignore[type-var]

    play(CallOption(monitor=MonitorOption(url="wss://far/tap?x=1", ptime=20, headers={"Authorization": "k"})), work)


def test_far_end_that_leaves_is_called_again_and_one_that_is_never_there_is_one_error() -> None:
    async def leaves(scene: Scene) -> None:
        scene.ends[0].says.put_nowait(None)
        await asyncio.sleep(1)
        assert len(scene.ends) == 2 and scene.ends[0].is_closed
        scene.hear(CALLERS, b"\1\0" * 2000)
        await asyncio.sleep(0.01)
        assert scene.ends[1].got and not scene.told

    async def is_away(scene: Scene) -> None:
        await asyncio.sleep(30)
        (error,) = scene.told
        assert isinstance(error, events.Error)
        assert (error.sender, error.error, len(scene.opened)) == ("mediaPass", "nobody there", 5)

    option = CallOption(media_pass=MediaPassOption(url="ws://far"))
    play(option, leaves)
    play(option, is_away, refuses=True)
