"""Engine processes as the loop uses them: one for each module whose functions run, so that synthesis never waits for recognition.

A function of a module and its arguments enter; the result or a ProviderError leaves. A process starts at first use or by `warm`, serves
one request at a time in order of arrival, ends with this process, and is restarted after a crash. Adapters keep requests short (a sentence
or an utterance) and send one at a time for each call, so that many calls share a process fairly. A module may have several processes
(`set_processes`), which share its queue. Knows no engine. `engine_pool` has the queue, `engine_process` the other side.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from active_call.base.child_processes import StartsChildren
from active_call.base.errors import ProviderError
from active_call.base.world import Clock, SystemClock
from active_call.providers.local.call_cost import CallCost
from active_call.providers.local.engine_pool import EnginePool

MAX_WAITING = 128
"""Requests that may wait for one module. Beyond this the machine is too slow for its calls; requests fail instead of waiting longer."""

REQUEST_LIMIT_S = 30.0
"""A request that takes longer hangs: its process is killed."""

MAX_PROCESSES = 8
"""For one module: each process holds its own copy of the model."""


def n_usable_cores() -> int:
    """The cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EngineProcesses:
    """The engine processes of this program: the implementation of `base.LocalEngines`."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        request_limit_s: float = REQUEST_LIMIT_S,
        max_waiting: int = MAX_WAITING,
        children: StartsChildren | None = None,
        is_strained: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_strained` says whether the machine has no time for background requests; they are refused then."""
        self._is_strained = is_strained
        self._clock = clock or SystemClock()
        self._request_limit_s = request_limit_s
        self._max_waiting = max_waiting
        self._children = children
        self._pools: dict[str, EnginePool] = {}
        self._cost = CallCost(n_usable_cores())
        self._closed = False

    def use_all_cores(self, module: str, warm: Callable[..., Any] | None = None, *args: Any) -> None:
        """Let `module` have one process for each core, at most `MAX_PROCESSES`. A further one starts when a request would wait.

        It calls `warm(*args)` before its first request; until then the ready processes serve all requests.
        """
        pool = self._pool(module)
        pool.n_processes = max(1, min(n_usable_cores(), MAX_PROCESSES))
        if warm is not None:
            pool.warm = (warm, args)

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False, max_wait_s: float | None = None) -> Any:
        """Call a module-level function in a process of its module; arguments and result are pickled.

        A `background` request is served when no other one waits. It is refused if as many background requests wait as the module has
        processes. A request with `max_wait_s` is useless if it begins later than that: it is then dropped with ProviderBusy. If the queue
        is full, the oldest such request is dropped. Raises ProviderError: retryable if the process died, hung or has too much to do, else
        with what the function raised. Cancelling drops a waiting request. A running one may continue for a second before its process is
        killed; a background one runs to its end.
        """
        if background and self._is_strained():
            raise ProviderError(function.__module__.rpartition(".")[2], "the machine has no time for this", retryable=True)
        return await self._pool(function.__module__).run(function, args, background=background, max_wait_s=max_wait_s)

    async def warm(self, function: Callable[..., Any], *args: Any) -> None:
        """Like `run` without a result: `function` loads what its module's other functions need."""
        await self.run(function, *args)

    def has_room(self, n_calls: int = 0) -> bool:
        """Whether one more call fits beside `n_calls`: judged by the cost of calls, and by whether requests of all modules begin in time.

        Admission asks before each new call, because one call too many delays all calls.
        """
        fits = self._cost.has_room(self._clock.now(), n_calls)
        return fits and not any(pool.is_late() for pool in self._pools.values())

    async def close(self) -> None:
        """End all processes. Waiting and running requests fail with ProviderError."""
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _pool(self, module: str) -> EnginePool:
        if self._closed:
            raise ProviderError(module, "the engine processes are closed")
        pool = self._pools.get(module)
        if pool is None:
            name = module.rpartition(".")[2]
            pool = self._pools[module] = EnginePool(name, self._clock, self._request_limit_s, self._max_waiting, self._children)
            pool.on_spent = self._cost.spend
        return pool
