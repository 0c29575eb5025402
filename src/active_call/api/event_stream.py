"""A call's events as server-sent events, from now on or from a number, until the call ends.

In: a call's handle. Out: `event: event` with the event's JSON and its number as `id`, `event: command` with each command to the call
(without credentials, and not replayed for later clients), and a comment after a while without events. The stream ends after the call's own
`hangup` (not that of a transfer's far leg), at once for an ended call, and, after a comment, when a client is too slow. The client may
reconnect with the number after the last one it has read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from active_call.api.own_track import OwnTrack
from active_call.call.events.command_watch import CommandWatcher
from active_call.call.events.subscription import QUEUE_SIZE, CloseReason, Subscription
from active_call.call.handle import CallDescription
from active_call.contract import commands, wire

log = logging.getLogger("active_call.api")

WATCH_QUEUE_SIZE = QUEUE_SIZE
KEEPALIVE_S = 15.0
MAX_DIGITS = 18
"""Digits of an event's number: more than any call has."""


class Watched(Protocol):
    """A call whose events can be followed."""

    @property
    def id(self) -> str: ...

    def describe(self) -> CallDescription: ...

    def subscribe(self, *, from_seq: int | None = None) -> Subscription:
        """Its events from number `from_seq` on, or from now on if None; for an ended call, at least its hangup."""
        ...

    def watch_commands(self, watcher: CommandWatcher) -> Callable[[], None]:
        """Call `watcher` with each command to the call until the returned function is called."""
        ...


async def event_stream(call: Watched, from_seq: int | None = None) -> AsyncIterator[bytes]:
    """The stream's bytes."""
    has_news = asyncio.Event()
    seen: deque[bytes] = deque(maxlen=WATCH_QUEUE_SIZE)

    def see(command: commands.Command) -> None:
        seen.append(wire.encode_command_for_watchers(command))
        has_news.set()

    subscription, stop_watching = call.subscribe(from_seq=from_seq), call.watch_commands(see)
    subscription.notify(has_news.set)
    own_track = OwnTrack(call.id, call.describe().answered_at)
    try:
        while True:
            has_news.clear()
            while seen:
                yield b"event: command\ndata: " + seen.popleft() + b"\n\n"
            for item in subscription.take():
                before = own_track.before(item.event)
                if before is not None:
                    yield b"event: event\ndata: " + wire.encode_event(before) + b"\n\n"
                yield b"event: event\ndata: " + wire.encode_event(item.event) + b"\nid: %d\n\n" % item.seq
                after = own_track.after(item.event)
                if after is not None:
                    yield b"event: event\ndata: " + wire.encode_event(after) + b"\n\n"
            if subscription.closed is not None and not has_news.is_set():
                if subscription.closed is CloseReason.OVERFLOW:
                    log.warning("event stream closed: its client does not read", extra={"session_id": call.id})
                    yield b": too slow: the client does not read its events\n\n"
                return
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    await has_news.wait()
            except TimeoutError:
                yield b": keep-alive\n\n"
    finally:
        stop_watching()
        subscription.close()


def number_after(last_event_id: str | None) -> int | None:
    """The number after a client's `Last-Event-ID`; None if it sends none."""
    is_number = last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= MAX_DIGITS
    return int(last_event_id) + 1 if is_number and last_event_id is not None else None
