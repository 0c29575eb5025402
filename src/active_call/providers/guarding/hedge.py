"""A hedged start: the next source begins when the current one has given nothing usable in time; the first usable one wins.

Sources are asked in order. A further one begins `after_s` after the previous one, or at once if that has failed. When one gives usable
output or ends, all others are cancelled, and only that one is used from then on. The usage of the others is counted at their own walls.
Each source is iterated over and closed in its own task. Knows no vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Final, Generic, TypeVar

from active_call.base.errors import ProviderError
from active_call.providers.sources import close_source

T = TypeVar("T")

MAX_AHEAD: Final = 64
"""How many items a source may be ahead of its reader."""


class Hedge(Generic[T]):
    """The sources of one request. Iterate over `run` once. `asked` starts the time of a source."""

    def __init__(self, sources: Sequence[Callable[[], AsyncIterator[T]]], after_s: float, is_usable: Callable[[T], bool]) -> None:
        self._sources = sources
        self._after_s = after_s
        self._is_usable = is_usable
        self._asked = asyncio.Event()
        self._contenders: list[_Contender[T]] = []

    def asked(self) -> None:
        """A result is due from now on; before that, no source is late."""
        self._asked.set()

    async def run(self) -> AsyncGenerator[tuple[int, T], None]:
        """The items of the winner, each with the winner's number. If all have failed, raises the last one's ProviderError."""
        try:
            winner = await self._winner()
            await self._cancel([each for each in self._contenders if each is not winner])
            async for item in winner.items():
                yield winner.number, item
        finally:
            await self._cancel(self._contenders)

    async def _winner(self) -> _Contender[T]:
        self._begin()
        while True:
            undecided = [each for each in self._contenders if not each.has_failed]
            has_more = len(self._contenders) < len(self._sources)
            timer = asyncio.ensure_future(self._late()) if has_more else None
            waits = {each.decided for each in undecided} | ({timer} if timer is not None else set())
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_late = timer is not None and timer.done()
                if timer is not None:
                    timer.cancel()
            for each in undecided:
                if each.decided.done() and each.decided.exception() is None:
                    return each
            failed = [each for each in undecided if each.decided.done()]
            for each in failed:
                each.has_failed = True
                error = each.decided.exception()
                is_last = not has_more and all(one.has_failed for one in self._contenders)
                if error is not None and (is_last or not isinstance(error, ProviderError)):
                    raise error
            if has_more and (failed or is_late):
                self._begin()

    async def _late(self) -> None:
        await self._asked.wait()
        await asyncio.sleep(self._after_s)

    def _begin(self) -> None:
        number = len(self._contenders)
        self._contenders.append(_Contender(number, self._sources[number], self._is_usable))

    async def _cancel(self, contenders: Sequence[_Contender[T]]) -> None:
        for each in contenders:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in contenders), return_exceptions=True)
        for each in contenders:
            if each.decided.done() and not each.decided.cancelled():
                each.decided.exception()  # no other source was asked


class _Contender(Generic[T]):
    """One running source. `decided` is done when it has given usable output or ended; it raises what the source raised before that."""

    def __init__(self, number: int, source: Callable[[], AsyncIterator[T]], is_usable: Callable[[T], bool]) -> None:
        self.number = number
        self.has_failed = False
        self.decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._source = source
        self._is_usable = is_usable
        self._queue: asyncio.Queue[T | None] = asyncio.Queue(MAX_AHEAD)
        self._error: Exception | None = None
        self.task = asyncio.get_running_loop().create_task(self._pump(), name=f"source {number}")

    async def items(self) -> AsyncGenerator[T, None]:
        """All items of the source, from the first. Raises what it raised."""
        while (item := await self._queue.get()) is not None:
            yield item
        if self._error is not None:
            raise self._error

    async def _pump(self) -> None:
        source = self._source()
        try:
            async for item in source:
                await self._queue.put(item)
                if not self.decided.done() and self._is_usable(item):
                    self.decided.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is raised to the reader
            self._error = error
            if not self.decided.done():
                self.decided.set_exception(error)
        finally:
            await close_source(source)
            if not self.decided.done():
                self.decided.set_result(None)
        await self._queue.put(None)
