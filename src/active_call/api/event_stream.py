"""A call's events as server-sent events.

A call enters; `event: event` blocks with the events' JSON leave, up to the call's own `hangup`. The far leg of a transfer has a hangup too,
marked `refer`: it ends nothing. Who listens when the call is over already, because its record is still being written, gets its hangup. A
listener that is too slow loses its place; the call never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from active_call.contract import events, wire

QUEUE_SIZE = 1000
KEEPALIVE_S = 15.0


class WatchedCall(Protocol):
    """What is listened to."""

    @property
    def farewell(self) -> events.Hangup | None:
        """The call's own hangup, once it was told."""
        ...

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `watcher` with every event from now on, until the returned function is called."""
        ...


async def event_stream(call: WatchedCall) -> AsyncIterator[bytes]:
    """The blocks to be sent."""
    queue: asyncio.Queue[events.Event] = asyncio.Queue(QUEUE_SIZE)
    too_slow = asyncio.Event()

    def watcher(event: events.Event) -> None:
        try:
            queue.put_nowait(event)
        except asyncio.QueueFull:
            too_slow.set()

    if call.farewell is not None:
        yield _block(call.farewell)
        return
    unwatch = call.watch(watcher)
    try:
        while not too_slow.is_set():
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    event = await queue.get()
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            yield _block(event)
            if isinstance(event, events.Hangup) and not event.refer:
                return
    finally:
        unwatch()


def _block(event: events.Event) -> bytes:
    return b"event: event\ndata: " + wire.encode_event(event) + b"\n\n"
