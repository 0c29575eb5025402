"""A call's events as server-sent events, from now until the call is over.

In: a session. Out: `event: event` with the event's JSON, and a comment when nothing happens for a while. It ends after the call's own
`hangup` (not that of a transfer's far leg), at once for a call that is over already, and when a client is too slow: the client loses its
place then, not the call its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from active_call.contract import events, wire

WATCH_QUEUE_SIZE = 1000
KEEPALIVE_S = 15.0


class Watched(Protocol):
    """A call that can be watched."""

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `watcher` with every event from now on, until the returned function is called; of a call that is over, with its hangup."""
        ...


async def event_stream(call: Watched) -> AsyncIterator[bytes]:
    """The stream's bytes."""
    queue: asyncio.Queue[events.Event] = asyncio.Queue(WATCH_QUEUE_SIZE)
    is_too_slow = False

    def watcher(event: events.Event) -> None:
        nonlocal is_too_slow
        try:
            queue.put_nowait(event)
        except asyncio.QueueFull:
            is_too_slow = True

    unwatch = call.watch(watcher)
    try:
        while not is_too_slow:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    event = await queue.get()
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            yield b"event: event\ndata: " + wire.encode_event(event) + b"\n\n"
            if isinstance(event, events.Hangup) and not event.refer:
                return
    finally:
        unwatch()
