"""Waits for events of one call: each wait examines every event until it has its result; the end of the call ends all of them.

Events enter by `take`, in the call's own loop and order. Knows no command and no call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from active_call.app.errors import CallEnded, CallError
from active_call.contract import events

T = TypeVar("T")

Matcher = Callable[[events.Event], T | None]
"""Returns a result from an event, or None to wait on; raises the error of the wait."""


class Wait(Generic[T]):
    """One wait. `result` returns or raises once; `cancel` ends it."""

    def __init__(self, matcher: Matcher[T], waits: EventWaits) -> None:
        self._matcher = matcher
        self._waits = waits
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @property
    def is_done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._future.done()

    @property
    def has_failed(self) -> bool:
        """Whether the wait has ended with an error of its own, not with the call's end."""
        return self._future.done() and not self._future.cancelled() and _failure(self._future) is not None

    def take(self, event: events.Event) -> None:
        """Examine an event."""
        if self._future.done():
            return
        try:
            found = self._matcher(event)
        except CallError as error:
            self._future.set_exception(error)
        else:
            if found is not None:
                self._future.set_result(found)

    def fail(self, error: Exception) -> None:
        """End the wait with `error`."""
        if not self._future.done():
            self._future.set_exception(error)

    async def result(self, timeout_s: float | None = None) -> T:
        """The result. Raises TimeoutError after `timeout_s`, CallEnded at the end of the call, or what the matcher has raised."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._future)
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop looking at events. A second call does nothing."""
        self._waits.forget(self)
        if not self._future.cancel():
            _failure(self._future)  # it has been seen


class EventWaits:
    """All waits of one call."""

    def __init__(self) -> None:
        self._waits: list[Wait[object]] = []
        self.ended: CallEnded | None = None
        """Why no more events come; None while the call is alive."""

    def expect(self, matcher: Matcher[T]) -> Wait[T]:
        """Wait from now on; `Wait.cancel` it when it is no longer wanted. Raises CallEnded if the call is over."""
        if self.ended is not None:
            raise self.ended.again()
        wait = Wait(matcher, self)
        self._waits.append(wait)  # type: ignore[arg-type]
        return wait

    def take(self, event: events.Event) -> None:
        """An event has happened."""
        for wait in list(self._waits):
            wait.take(event)

    def end(self, ended: CallEnded) -> None:
        """The call is over: whatever still waits raises CallEnded with the facts of `ended`."""
        self.ended = ended
        for wait in list(self._waits):
            wait.fail(ended.again())

    def forget(self, wait: Wait[T]) -> None:
        """Offer `wait` no more events."""
        if wait in self._waits:
            self._waits.remove(wait)  # type: ignore[arg-type]


def _failure(future: asyncio.Future[T]) -> BaseException | None:
    return None if future.cancelled() else future.exception()
