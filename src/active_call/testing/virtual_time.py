"""An asyncio loop whose time jumps to the next timer instead of waiting: whole calls run in milliseconds, always the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TOO_LONG_S = 24 * 3600.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run, and then jumps to the next timer. Nothing in it may wait for a socket.

    While work runs in a thread (`asyncio.to_thread`) time stands still too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._n_in_threads = 0

    def time(self) -> float:
        return self._virtual_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        self._n_in_threads += 1
        running = super().run_in_executor(executor, func, *args)
        running.add_done_callback(self._back_from_thread)
        return running

    def _back_from_thread(self, _: object) -> None:
        self._n_in_threads -= 1

    def _run_once(self) -> None:
        if not self._ready and self._scheduled and not self._n_in_threads:  # type: ignore[attr-defined]
            self._virtual_s = max(self._virtual_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
            self.call_soon(_do_nothing)  # that timer may be cancelled; asyncio would really wait for the next one
        if self._virtual_s > TOO_LONG_S:
            raise TimeoutError("a day of virtual time has passed; something waits for ever")
        super()._run_once()  # type: ignore[misc]


def _do_nothing() -> None:
    """Keeps the loop from waiting."""


class VirtualClock:
    """The clock of a loop whose time is virtual."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def utc_now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())


class CountingRandomness:
    """Random values that are all different, and the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def token(self, n_bytes: int) -> str:
        self._count += 1
        return self._count.to_bytes(n_bytes, "big").hex()

    def random_bytes(self, n_bytes: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(n_bytes, "big")

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def uuid(self) -> str:
        self._count += 1
        return f"00000000-0000-4000-8000-{self._count:012d}"


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end in virtual time. It finds its clock as `VirtualClock(asyncio.get_running_loop())`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
