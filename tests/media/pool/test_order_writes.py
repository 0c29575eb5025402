"""Orders on the link to a media process: one write for all orders of a pass of the loop, in their order; sound is written less often."""

from __future__ import annotations

import asyncio
from typing import Any

from active_call.media.link.framing import OrderReader
from active_call.media.link.messages import CloseStream, FeedAudio, StopPlay
from active_call.media.pool.process import SOUND_EVERY_S, MediaProcess
from active_call.testing.virtual_time import run_virtually


class Pipe:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_gone = False

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def process_on(pipe: Pipe) -> MediaProcess:
    nothing: Any = None
    transport: Any = pipe
    return MediaProcess(nothing, transport, nothing)


def test_orders_of_one_pass_of_the_loop_leave_in_one_write() -> None:
    async def story() -> None:
        pipe = Pipe()
        process, orders = process_on(pipe), OrderReader()
        first = [FeedAudio(1, b"ab"), FeedAudio(2, b"cd"), StopPlay(1)]
        process.send(first[0])
        process.send(*first[1:])
        assert pipe.writes == []
        await asyncio.sleep(0)
        assert len(pipe.writes) == 1 and orders.feed(pipe.writes[0]) == first
        process.send(CloseStream(1))
        await asyncio.sleep(0)
        assert len(pipe.writes) == 2 and orders.feed(pipe.writes[1]) == [CloseStream(1)]

    asyncio.run(story())


def test_orders_to_a_process_that_has_gone_meanwhile_are_dropped() -> None:
    async def story() -> None:
        pipe = Pipe()
        process = process_on(pipe)
        process.send(CloseStream(1))
        pipe.is_gone = True
        await asyncio.sleep(0)
        process.send(CloseStream(2))
        await asyncio.sleep(0)
        assert pipe.writes == []

    asyncio.run(story())


def test_sound_of_many_calls_is_written_seldom_and_in_order_with_other_orders() -> None:
    async def story() -> None:
        pipe = Pipe()
        process, orders = process_on(pipe), OrderReader()
        await asyncio.sleep(2 * SOUND_EVERY_S)
        process.send_sound(FeedAudio(1, b"a"))
        await asyncio.sleep(0)
        assert orders.feed(b"".join(pipe.writes)) == [FeedAudio(1, b"a")]  # nothing was written lately: at once
        for stream in range(2, 9):
            process.send_sound(FeedAudio(stream, b"b"))
            await asyncio.sleep(0)
        assert len(pipe.writes) == 1
        process.send(StopPlay(1))
        process.send_sound(FeedAudio(9, b"c"))
        await asyncio.sleep(0)
        late = [*(FeedAudio(stream, b"b") for stream in range(2, 9)), StopPlay(1), FeedAudio(9, b"c")]
        assert len(pipe.writes) == 2 and orders.feed(pipe.writes[1]) == late
        process.send_sound(FeedAudio(1, b"d"))
        await asyncio.sleep(2 * SOUND_EVERY_S + 0.02)
        assert len(pipe.writes) == 3 and orders.feed(pipe.writes[2]) == [FeedAudio(1, b"d")]
        process.send_sound(FeedAudio(1, b"e"))
        await asyncio.sleep(0)
        assert len(pipe.writes) == 4

    run_virtually(story())
