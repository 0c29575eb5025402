"""The processes of one engine module, and the queue that they share.

A request enters with its place in the queue; its answer, or a ProviderError, is set in its future. Requests are served in order of
arrival. Background requests (for a partial text) are served when no other one waits, and only few of them may wait. The first
process starts with the first request, a further one when a request would wait and the pool may have more. A process that dies or hangs
fails the request that it served; the next request starts another one.

A request with `max_wait_s` (an utterance: its caller does not wait forever) is dropped when it has waited that long. When the queue is
full, the oldest such request is dropped, because the callers of newer ones still wait. Any other request is refused when the queue is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from active_call.base.child_processes import Programs, StartsChildren
from active_call.base.errors import ProviderBusy, ProviderError
from active_call.base.world import Clock
from active_call.providers.local.engine_link import EngineLink

logger = logging.getLogger(__name__)

SLOW_WAIT_S = 0.5
"""A longer wait in the queue is logged as a warning: a caller notices it."""
LATE_S = 1.0
"""A longer wait shows that the machine has too many calls."""
LOADING_S = 20.0
"""The time for the first process of a module to load its model. Requests that wait for it do not show that there are too many calls."""
LATE_AFTER_DROP_S = 5.0
"""After a request was dropped, the machine counts as overloaded for this long."""
ABANDONED_LIMIT_S = 1.0
"""An abandoned request may run this long; then its process is killed, and the next request starts a new one."""

ABANDONED_WHILE_LOADING_S = 10.0
"""The same for a process's first request. It loads the model, which the next call also needs; killing it would restart that."""


@dataclass(slots=True, eq=False)
class Request:
    """One call of a function. `is_background`: no caller waits for it, and it may run to its end when abandoned."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    answer: asyncio.Future[Any]
    asked_at: float
    is_background: bool = False
    perishes: bool = False


class EnginePool:
    """One module's processes and their queue. `n_processes` may be raised at any time."""

    def __init__(self, name: str, clock: Clock, request_limit_s: float, max_waiting: int, children: StartsChildren | None = None) -> None:
        self.name = name
        self.clock = clock
        self.request_limit_s = request_limit_s
        self.children: StartsChildren = children or Programs()
        self.on_spent: Callable[[float], None] = lambda cpu_s: None
        """Called with the CPU time of each request that a caller waited for."""
        self.n_processes = 1
        self.warm: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        """What a further process calls before it takes requests."""
        self._max_waiting = max_waiting
        self._waiting: deque[Request] = deque()
        self._background: deque[Request] = deque()
        self._arrived = asyncio.Event()
        self._n_idle = 0
        self._carriers: list[asyncio.Task[None]] = []
        self.n_dropped = 0
        """Requests that were dropped because no process began them in time."""
        self._dropped_at: float | None = None
        self._began_loading_at: float | None = None
        """When the only process was started, until its first answer."""
        self._loaded_at = 0.0

    @property
    def n_waiting(self) -> int:
        """Requests with a waiting caller that no process has begun."""
        return len(self._waiting)

    def is_late(self) -> bool:
        """The oldest request has waited too long, or one was dropped recently."""
        now = self.clock.now()
        if self._is_loading(now):
            return False
        has_dropped = self._dropped_at is not None and now - self._dropped_at < LATE_AFTER_DROP_S
        return has_dropped or (bool(self._waiting) and now - max(self._waiting[0].asked_at, self._loaded_at) > LATE_S)

    def _is_loading(self, now: float) -> bool:
        return self._began_loading_at is not None and now - self._began_loading_at < LOADING_S

    def note_loading(self) -> None:
        """A process was started. If it is the only one, requests wait for it."""
        if len(self._carriers) <= 1:
            self._began_loading_at = self.clock.now()

    def note_loaded(self) -> None:
        """A process has answered."""
        if self._began_loading_at is not None:
            self._began_loading_at, self._loaded_at = None, self.clock.now()

    async def run(
        self, function: Callable[..., Any], args: tuple[Any, ...], *, background: bool = False, max_wait_s: float | None = None
    ) -> Any:
        """Queue one call and wait for its answer. Raises ProviderError, retryable if the queue is full, and ProviderBusy."""
        queue = self._background if background else self._waiting
        limit = self.n_processes if background else self._max_waiting
        if len(queue) >= limit and not self._make_room(queue):
            raise ProviderError(self.name, f"{limit} requests are already waiting", retryable=True)
        loop = asyncio.get_running_loop()
        request = Request(function, args, loop.create_future(), self.clock.now(), background, max_wait_s is not None)
        queue.append(request)
        if max_wait_s is not None:
            loop.call_later(max_wait_s, self._drop, queue, request)
        self._arrived.set()
        if len(self._waiting) + len(self._background) > self._n_idle and len(self._carriers) < self.n_processes:
            self._carriers.append(asyncio.create_task(_Carrier(self).carry(is_further=bool(self._carriers)), name=f"engine {self.name}"))
        try:
            return await request.answer
        finally:
            if not request.answer.done() or request.answer.cancelled():
                with contextlib.suppress(ValueError):
                    queue.remove(request)

    def _make_room(self, queue: deque[Request]) -> bool:
        """Drop the oldest request with a `max_wait_s`; False if there is none."""
        oldest = next((request for request in queue if request.perishes), None)
        if oldest is not None:
            self._drop(queue, oldest)
        return oldest is not None

    def _drop(self, queue: deque[Request], request: Request) -> None:
        """Drop a waiting request; does nothing to one that has begun or ended."""
        if request not in queue:
            return
        queue.remove(request)
        self.n_dropped += 1
        now = self.clock.now()
        if not self._is_loading(now):
            self._dropped_at = now
        waited_s = now - request.asked_at
        fields = {"engine": self.name, "waited_ms": round(waited_s * 1000, 1), "n_waiting": len(queue), "n_dropped": self.n_dropped}
        logger.warning("engine request dropped, too many wait", extra=fields)
        fail(request, ProviderBusy(self.name, f"too much to do: a request was dropped after {waited_s:.1f} s"))

    async def next_request(self) -> Request:
        """The next request in order, once there is one."""
        self._n_idle += 1
        try:
            while not (self._waiting or self._background):
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._n_idle -= 1
        return (self._waiting or self._background).popleft()

    async def close(self) -> None:
        """End the processes. Waiting and running requests fail with ProviderError."""
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)
        for request in (*self._waiting, *self._background):
            fail(request, ProviderError(self.name, "closed"))
        self._waiting.clear()
        self._background.clear()


class _Carrier:
    """Passes requests of a pool to one process of its own, one after the other."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool
        self._link: EngineLink | None = None

    async def carry(self, *, is_further: bool) -> None:
        """Serve until cancelled; then end the process. A further process loads its model before it takes requests."""
        try:
            if is_further:
                await self._get_ready()
            while True:
                await self._serve(await self._pool.next_request())
        finally:
            if self._link is not None:
                await self._link.close()

    async def _get_ready(self) -> None:
        """Start the process and load its model. If that fails, the first request reports it."""
        try:
            self._link = await EngineLink.start(self._pool.name, self._pool.children)
            if self._pool.warm is not None:
                async with asyncio.timeout(self._pool.request_limit_s):
                    await self._link.ask(*self._pool.warm)
        except (OSError, EOFError, TimeoutError) as error:
            logger.warning("engine process is not ready", extra={"engine": self._pool.name, "reason": str(error) or type(error).__name__})
            await self._discard()

    async def _serve(self, request: Request) -> None:
        begun_at = self._pool.clock.now()
        name = self._pool.name
        try:
            after_s = ABANDONED_LIMIT_S
            is_loading = self._link is None
            if self._link is None:
                self._pool.note_loading()
                self._link = await EngineLink.start(name, self._pool.children)
                after_s = ABANDONED_WHILE_LOADING_S
            async with asyncio.timeout(self._pool.request_limit_s) as limit:
                forget = shorten_when_abandoned(request, limit, after_s)
                try:
                    succeeded, value, cpu_s = await self._link.ask(request.function, request.args)
                finally:
                    forget()
            self._pool.note_loaded()
            if not (is_loading or request.is_background):
                self._pool.on_spent(cpu_s)
        except (OSError, EOFError, TimeoutError) as error:
            reason = "its process died"
            if isinstance(error, TimeoutError):
                reason = "it was abandoned and killed" if request.answer.cancelled() else "it hung and was killed"
            fail(request, ProviderError(name, reason, retryable=True))
            if self._link is None:
                reason = f"its process cannot be started: {error}"
            elif not isinstance(error, TimeoutError):
                reason = f"its process {await self._link.how_ended()}"
            logger.error("engine process lost", extra={"engine": name, "reason": reason})
            await self._discard()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            fail(request, ProviderError(name, f"the request cannot be sent to the process: {error}"))
        except asyncio.CancelledError:
            fail(request, ProviderError(name, "closed"))
            raise
        else:
            if succeeded:
                _fulfil(request, value)
            else:
                fail(request, ProviderError(name, value))
            self._log_latency(request, begun_at)

    async def _discard(self) -> None:
        """The process is dead, or hangs."""
        if self._link is not None:
            self._link.kill()
            await self._link.close()
            self._link = None  # not earlier: if cancelled meanwhile, it is closed at the end

    def _log_latency(self, request: Request, begun_at: float) -> None:
        waited_s, took_s = begun_at - request.asked_at, self._pool.clock.now() - begun_at
        level = logging.WARNING if waited_s > SLOW_WAIT_S and not request.is_background else logging.DEBUG
        fields = {
            "engine": self._pool.name,
            "function": request.function.__name__,
            "waited_ms": round(waited_s * 1000, 1),
            "took_ms": round(took_s * 1000, 1),
            "n_waiting": self._pool.n_waiting,
        }
        logger.log(level, "engine request served", extra=fields)


def shorten_when_abandoned(request: Request, limit: asyncio.Timeout, after_s: float) -> Callable[[], object]:
    """Shorten `limit` to `after_s` once `request` is abandoned, unless it is in the background. Returns a function that stops this."""
    loop = asyncio.get_running_loop()
    is_over = False

    def shorten(answer: asyncio.Future[Any]) -> None:
        due = limit.when()
        if answer.cancelled() and due is not None and not (is_over or request.is_background or limit.expired()):
            limit.reschedule(min(due, loop.time() + after_s))

    def forget() -> None:
        nonlocal is_over  # `shorten` may be scheduled on the loop already, where it cannot be removed
        is_over = True
        request.answer.remove_done_callback(shorten)

    request.answer.add_done_callback(shorten)
    return forget


def fail(request: Request, error: ProviderError) -> None:
    """Answer `request` with `error`, unless it has an answer."""
    if not request.answer.done():
        request.answer.set_exception(error)


def _fulfil(request: Request, value: Any) -> None:
    if not request.answer.done():
        request.answer.set_result(value)
