"""The events of one call for readers: numbered, kept for replay, and passed to bounded subscriptions.

`EventLog.append` adds events; each gets the next number. `EventLog.subscribe` returns a `Subscription`, which its reader empties at its own
pace. Server-sent events, sockets, the console, the command line and the Python API all use this type.

- **Bounded.** A reader that falls behind by more than its limit loses the waiting events, and its subscription is closed with `OVERFLOW`.
  The reader knows its last number, and may subscribe again from the next one. The call never waits for a reader.
- **Merged.** Consecutive unread `asrDelta` events of one utterance are replaced by the latest one, with its number.
- **Replayed.** The log keeps the last `LOG_SIZE` events. A subscription from a number that the log no longer holds says how many are
  missing.
- **Closed with a reason.** After the call's own `hangup` a subscription ends with `OVER`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from active_call.contract import events

log = logging.getLogger("active_call.call")

QUEUE_SIZE: Final = 1000
"""Events that may wait for one reader: minutes of a busy call."""
LOG_SIZE: Final = 512
"""Events kept for replay."""


class CloseReason(StrEnum):
    """Why a subscription has ended."""

    OVER = "over"
    """The call has ended, and its hangup was the last event."""
    OVERFLOW = "overflow"
    """The reader was too slow; its waiting events are lost."""
    CLOSED = "closed"
    """The reader has closed it."""


class NumberedEvent(Struct, frozen=True):
    """An event and its number in its call. Numbers begin at 1 and rise; merged events leave gaps."""

    seq: int
    event: events.Event


class Subscription:
    """One reader's events of one call. Iterate over it, or use `next` or `take`; `close` it at the end. `closed` says why it ended."""

    def __init__(self, *, size: int = QUEUE_SIZE, n_missed: int = 0, on_close: Callable[[Subscription], None] = lambda _: None) -> None:
        self._size = size
        self._on_close = on_close
        self._waiting: deque[NumberedEvent] = deque()
        self._has_news = asyncio.Event()
        self._callback: Callable[[], None] = lambda: None
        self.closed: CloseReason | None = None
        self.n_missed = n_missed
        """How many requested events the log no longer held."""
        self.last_seq = 0
        """The number of the last event read; 0 before the first."""

    def notify(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, after each event, and at the end; it may `take` the waiting events. A failure is logged."""
        self._callback = callback
        self._report()

    def put(self, item: NumberedEvent) -> None:
        """Add an event; on overflow close the subscription. Does nothing if it is closed."""
        if self.closed is not None:
            return
        if not merge_into(self._waiting, item):
            if len(self._waiting) >= self._size:
                self._waiting.clear()
                self._end(CloseReason.OVERFLOW)
                return
            self._waiting.append(item)
        self._report()

    def finish(self) -> None:
        """No event follows: the subscription ends with `OVER` when the waiting events have been read. May be called again."""
        self._end(CloseReason.OVER)

    def close(self) -> None:
        """The reader wants no more events; waiting ones are dropped. May be called again."""
        self._waiting.clear()
        self._end(CloseReason.CLOSED)

    def take(self) -> list[NumberedEvent]:
        """All waiting events; does not wait."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._note(taken)
        return taken

    async def next(self) -> NumberedEvent | None:
        """Wait for the next event; None once the subscription has ended and everything was read."""
        while not self._waiting:
            if self.closed is not None:
                return None
            self._has_news.clear()
            await self._has_news.wait()
        item = self._waiting.popleft()
        self._note([item])
        return item

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> NumberedEvent:
        item = await self.next()
        if item is None:
            raise StopAsyncIteration
        return item

    def _note(self, read: list[NumberedEvent]) -> None:
        if read:
            self.last_seq = read[-1].seq

    def _end(self, reason: CloseReason) -> None:
        if self.closed is None:
            self.closed = reason
            self._on_close(self)
            self._report()

    def _report(self) -> None:
        self._has_news.set()
        try:
            self._callback()
        except Exception:  # a reader that fails does not end the call
            log.exception("reader of a call's events failed")


class EventLog:
    """The events of one call: numbers them, keeps the most recent ones, and passes each to every subscription."""

    def __init__(self, *, size: int = LOG_SIZE) -> None:
        self._size = size
        self._kept: deque[NumberedEvent] = deque()
        self._subscriptions: dict[Subscription, None] = {}
        self._last_seq = 0
        self._n_forgotten = 0
        """Numbers up to this one are no longer kept."""
        self._hangup: NumberedEvent | None = None

    @property
    def n_subscriptions(self) -> int:
        """How many readers there are."""
        return len(self._subscriptions)

    @property
    def last_seq(self) -> int:
        """The number of the latest event; 0 before the first."""
        return self._last_seq

    def append(self, event: events.Event) -> NumberedEvent:
        """Number an event, keep it and pass it on. The call's own hangup ends every subscription."""
        self._last_seq += 1
        item = NumberedEvent(self._last_seq, event)
        if not merge_into(self._kept, item):
            self._kept.append(item)
        if len(self._kept) > self._size:
            self._n_forgotten = self._kept.popleft().seq
        for subscription in list(self._subscriptions):
            subscription.put(item)
        if is_own_hangup(event):
            self._hangup = item
            for subscription in list(self._subscriptions):
                subscription.finish()
        return item

    def subscribe(self, *, from_seq: int | None = None, size: int = QUEUE_SIZE) -> Subscription:
        """Events from number `from_seq` on, or from now on if None. An ended call returns at least its hangup, and the end."""
        missed = 0 if from_seq is None else max(0, self._n_forgotten - max(from_seq, 1) + 1)
        subscription = Subscription(size=max(size, len(self._kept) + 1), n_missed=missed, on_close=self._forget)
        self._subscriptions[subscription] = None
        if from_seq is not None:
            for item in self._kept:
                if item.seq >= from_seq:
                    subscription.put(item)
        elif self._hangup is not None:
            subscription.put(self._hangup)
        if self._hangup is not None:
            subscription.finish()
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)


def is_own_hangup(event: events.Event) -> bool:
    """Whether `event` ends the call itself, not only the far leg of a transfer."""
    return isinstance(event, events.Hangup) and not event.refer


def merge_into(waiting: deque[NumberedEvent], item: NumberedEvent) -> bool:
    """Replace the last waiting event by an `asrDelta` of the same utterance; False if there is none."""
    event = item.event
    if not waiting or not isinstance(event, events.AsrDelta):
        return False
    before = waiting[-1].event
    if not isinstance(before, events.AsrDelta) or _utterance(before) != _utterance(event):
        return False
    waiting[-1] = item
    return True


def _utterance(delta: events.AsrDelta) -> tuple[int, str | None, bool]:
    return delta.index, delta.track_id, delta.refer
