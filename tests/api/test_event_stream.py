"""Which events end a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from active_call.api.event_stream import KEEPALIVE_S, QUEUE_SIZE, event_stream
from active_call.contract import events
from active_call.testing.virtual_time import run_virtually

GOODBYE = events.Hangup(reason="caller", start_time="t", hangup_time="t")


@dataclass
class Call:
    farewell: events.Hangup | None = None
    watchers: list[Callable[[events.Event], None]] = field(default_factory=list)

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def tell(self, event: events.Event) -> None:
        for watcher in self.watchers:
            watcher(event)


def test_hangup_of_a_transfers_far_leg_does_not_end_the_stream_and_the_calls_own_does() -> None:
    async def run() -> None:
        call = Call()
        seen: list[bytes] = []

        async def listen() -> None:
            seen.extend([block async for block in event_stream(call)])

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        call.tell(events.Hangup(reason="callee", refer=True, start_time="t", hangup_time="t"))
        call.tell(events.Dtmf(digit="1"))
        call.tell(GOODBYE)
        await listening
        assert [b'"dtmf"' in block for block in seen] == [False, True, False]
        assert call.watchers == []

    run_virtually(run())


def test_stream_opened_when_the_call_is_over_but_not_yet_written_ends_with_its_hangup() -> None:
    async def run() -> None:
        blocks = [block async for block in event_stream(Call(farewell=GOODBYE))]
        assert len(blocks) == 1
        assert b'"hangup"' in blocks[0]

    run_virtually(run())


def test_listener_that_is_too_slow_loses_its_place() -> None:
    async def run() -> None:
        call = Call()
        stream = event_stream(call)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(KEEPALIVE_S + 1)
        assert await first == b": keep-alive\n\n"
        for _ in range(QUEUE_SIZE + 1):
            call.tell(events.Dtmf(digit="1"))
        assert len([block async for block in stream]) <= QUEUE_SIZE
        assert call.watchers == []

    run_virtually(run())
