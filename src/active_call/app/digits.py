"""The digits that a caller presses, in order, for one reader after another. Digits that nobody reads yet are kept: callers type ahead."""

from __future__ import annotations

import asyncio
from collections import deque

from active_call.app.errors import CallEnded

MAX_KEPT = 64


class DigitQueue:
    """`put` adds digits, `get` returns them one by one."""

    def __init__(self) -> None:
        self._digits: deque[str] = deque(maxlen=MAX_KEPT)
        self._news = asyncio.Event()
        self._ended: CallEnded | None = None

    def put(self, digit: str) -> None:
        """A digit was pressed."""
        self._digits.append(digit)
        self._news.set()

    def end(self, ended: CallEnded) -> None:
        """No more digits come."""
        self._ended = ended
        self._news.set()

    def clear(self) -> None:
        """Discard the digits that were pressed and not read."""
        self._digits.clear()

    @property
    def is_empty(self) -> bool:
        return not self._digits

    async def get(self, timeout_s: float | None) -> str:
        """The next digit. Raises TimeoutError, or CallEnded."""
        async with asyncio.timeout(timeout_s):
            while not self._digits:
                if self._ended is not None:
                    raise self._ended.again()
                self._news.clear()
                await self._news.wait()
        return self._digits.popleft()
