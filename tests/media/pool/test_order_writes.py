"""Orders on the link to a media process: one write for all orders of a pass of the loop, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

from active_call.media.link.framing import OrderReader
from active_call.media.link.messages import CloseStream, FeedAudio, StopPlay
from active_call.media.pool.process import MediaProcess


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
