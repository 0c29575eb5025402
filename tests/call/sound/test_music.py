"""Music for whoever waits: which of several wishes is played, and what happens to a source that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from active_call.base.errors import ActiveCallError, MediaError
from active_call.call.sound.music import MAX_MUSIC_S, Music
from active_call.media.sounds.hold_melody import hold_melody
from active_call.testing.virtual_time import run_virtually


class Stream:
    """What a media process would play."""

    rate_hz = 8000

    def __init__(self) -> None:
        self.music = b""
        self.is_complete = True
        self.n_stops = 0

    def queue_music(self, pcm: bytes, *, end: bool = False) -> None:
        self.music = pcm if self.is_complete else self.music + pcm
        self.is_complete = end

    def stop_music(self, fade_ms: int) -> None:
        assert fade_ms > 0
        self.n_stops += 1
        self.music, self.is_complete = b"", True


class Bench:
    def __init__(self) -> None:
        self.stream = Stream()
        self.errors: list[str] = []
        self.music = Music(lambda: self.stream, self.spawn, self.pieces, self.note)  # type: ignore[arg-type, return-value]

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)

    def note(self, error: ActiveCallError) -> None:
        self.errors.append(str(error))

    async def pieces(self, source: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        assert rate_hz == 8000
        if source == "nowhere":
            raise MediaError("nowhere: no such file")
        for _ in range(3):
            await asyncio.sleep(1.0)
            yield source.encode()
        if source == "broken":
            raise MediaError("broken: cut short")
        if source == "endless":
            while True:
                yield bytes(8000 * 2)


def test_music_of_the_last_wish_is_played_and_the_one_before_comes_back() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("transfer")
        assert bench.stream.music == hold_melody(8000)
        bench.music.start("hold", "ab")
        await asyncio.sleep(5)
        assert (bench.stream.music, bench.stream.is_complete) == (b"ababab", True)
        bench.music.stop("hold")
        assert bench.stream.music == hold_melody(8000)
        assert bench.stream.n_stops == 0  # one gives way to the other
        bench.music.stop("hold")
        bench.music.stop("transfer")
        assert (bench.stream.music, bench.music.is_playing) == (b"", False)

    run_virtually(story())


def test_same_music_for_another_reason_plays_on() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("transfer", "ab")
        await asyncio.sleep(5)
        bench.stream.music = b"playing"
        bench.music.start("hold", "ab")
        bench.music.stop("transfer")
        await asyncio.sleep(5)
        assert bench.stream.music == b"playing"

    run_virtually(story())


def test_music_that_is_still_loading_gives_way_at_once() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("hold", "ab")
        await asyncio.sleep(1.5)
        assert (bench.stream.music, bench.stream.is_complete) == (b"ab", False)
        bench.music.start("transfer", "cd")
        await asyncio.sleep(5)
        assert bench.stream.music == b"cdcdcd"
        bench.music.start("transfer", "ef")
        await asyncio.sleep(1.5)
        bench.music.stop("transfer")
        bench.music.stop("hold")
        await asyncio.sleep(5)
        assert bench.stream.music == b""

    run_virtually(story())


def test_source_that_cannot_be_read_is_told_and_the_melody_plays() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("hold", "nowhere")
        await asyncio.sleep(1)
        assert bench.errors == ["nowhere: no such file"]
        assert bench.stream.music == hold_melody(8000)

    run_virtually(story())


def test_source_that_breaks_off_is_repeated_as_far_as_it_came() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("hold", "broken")
        await asyncio.sleep(5)
        assert (bench.stream.music, bench.stream.is_complete) == (b"broken" * 3, True)
        assert bench.errors == ["broken: cut short"]

    run_virtually(story())


def test_source_without_an_end_is_cut_so_that_no_memory_runs_full() -> None:
    async def story() -> None:
        bench = Bench()
        bench.music.start("hold", "endless")
        await asyncio.sleep(5)
        assert len(bench.stream.music) == MAX_MUSIC_S * 8000 * 2
        assert bench.stream.is_complete

    run_virtually(story())
