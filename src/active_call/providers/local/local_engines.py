"""Engine processes seen from the loop: one for each module whose functions are run, so that synthesis never waits behind recognition.

A function of a module and its arguments enter; the result or a ProviderError leaves. A process starts at first use or by `warm`, serves
one request at a time in the order of arrival (adapters keep their requests short, a sentence or an utterance, and ask for one at a time
for each call, which is what makes this fair to many calls), dies with this process, and is started again after a crash. A module may have
several processes (`set_processes`), which share its queue. Knows no engine. `engine_pool` has the queue, `engine_process` the other side.
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
"""Requests that may wait for one module; more than this and the machine is too slow for its calls, which must be said, not queued."""

REQUEST_LIMIT_S = 30.0
"""A request that takes longer has hung: its process is killed."""

MAX_PROCESSES = 8
"""Of one module: each holds a model of its own."""


def n_usable_cores() -> int:
    """The cores on which this program may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EngineProcesses:
    """The engine processes of this program: `base.LocalEngines` for real."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        request_limit_s: float = REQUEST_LIMIT_S,
        max_waiting: int = MAX_WAITING,
        children: StartsChildren | None = None,
        is_strained: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_strained` says whether the machine has no time for what nobody waits for: background requests are refused then."""
        self._is_strained = is_strained
        self._clock = clock or SystemClock()
        self._request_limit_s = request_limit_s
        self._max_waiting = max_waiting
        self._children = children
        self._pools: dict[str, EnginePool] = {}
        self._cost = CallCost(n_usable_cores())
        self._closed = False

    def use_all_cores(self, module: str, warm: Callable[..., Any] | None = None, *args: Any) -> None:
        """Let `module` have a process for each core, at most `MAX_PROCESSES`. A further one starts when a request would wait.

        It calls `warm(*args)` before it takes its first request: until then the processes that are ready serve alone.
        """
        pool = self._pool(module)
        pool.n_processes = max(1, min(n_usable_cores(), MAX_PROCESSES))
        if warm is not None:
            pool.warm = (warm, args)

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False, max_wait_s: float | None = None) -> Any:
        """Call a module-level function in a process of its module; arguments and result are pickled.

        A `background` request is served when no other one waits; it is refused when as many of them wait as the module has processes.
        A request with `max_wait_s` is of no use when it is begun later than that: it is dropped then, and the oldest such one is dropped
        when the queue is full; ProviderBusy is raised.
        Raises ProviderError: retryable if the process died, hung or has too much to do, else with what the function raised. Cancelling
        drops a request that still waits; one already begun may go on for a second, unheard, before its process is killed, and one in the
        background to its end.
        """
        if background and self._is_strained():
            raise ProviderError(function.__module__.rpartition(".")[2], "the machine has no time for this", retryable=True)
        return await self._pool(function.__module__).run(function, args, background=background, max_wait_s=max_wait_s)

    async def warm(self, function: Callable[..., Any], *args: Any) -> None:
        """Like `run`, without interest in the result: `function` loads what its module's other functions need."""
        await self.run(function, *args)

    def has_room(self, n_calls: int = 0) -> bool:
        """Whether one call more fits beside `n_calls`: by what calls cost here, and requests of all modules are begun in time.

        Admission asks before each new call, which would make all wait longer.
        """
        fits = self._cost.has_room(self._clock.now(), n_calls)
        return fits and not any(pool.is_late() for pool in self._pools.values())

    async def close(self) -> None:
        """End all processes; what waits or runs fails with ProviderError."""
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
