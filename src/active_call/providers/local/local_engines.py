"""Engine processes seen from the loop: one for each module whose functions are run, so that synthesis never waits behind recognition.

A function of a module and its arguments enter; the result or a ProviderError leaves. A process starts at first use or by `warm`, serves
one request at a time in the order of arrival (adapters keep their requests short, a sentence or an utterance, which is what makes this
fair to many calls), dies with this process, and is started again after a crash. Knows no engine. The other side is `engine_process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from active_call.base.errors import ProviderError
from active_call.base.world import Clock, SystemClock
from active_call.providers.local import engine_process

logger = logging.getLogger(__name__)

MAX_WAITING = 128
"""Requests that may wait for one process; more than this and the machine is too slow for its calls, which must be said, not queued."""

REQUEST_LIMIT_S = 30.0
"""A request that takes longer has hung: its process is killed."""

SLOW_WAIT_S = 0.5
"""Waiting longer than this for its turn is worth a warning: somebody heard it."""

ABANDONED_LIMIT_S = 1.0
"""So long may a request go on that nobody waits for any more; then its process is killed, and the next request gets a new one."""

CLOSE_S = 2.0


@dataclass(slots=True)
class _Request:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    answer: asyncio.Future[Any]
    asked_at: float


class EngineProcesses:
    """The engine processes of this program: `base.LocalEngines` for real."""

    def __init__(self, clock: Clock | None = None, *, request_limit_s: float = REQUEST_LIMIT_S, max_waiting: int = MAX_WAITING) -> None:
        self._clock = clock or SystemClock()
        self._request_limit_s = request_limit_s
        self._max_waiting = max_waiting
        self._engines: dict[str, _Engine] = {}
        self._closed = False

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a module-level function in its module's process; arguments and result are pickled.

        Raises ProviderError: retryable if the process died, hung or has too much to do, else with what the function raised. Cancelling
        drops a request that still waits; one already begun may go on for a second, unheard, before its process is killed.
        """
        return await self._engine(function.__module__).run(function, args)

    async def warm(self, function: Callable[..., Any], *args: Any) -> None:
        """Like `run`, without interest in the result: `function` loads what its module's other functions need."""
        await self.run(function, *args)

    async def close(self) -> None:
        """End all processes; what waits or runs fails with ProviderError."""
        self._closed = True
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    def _engine(self, module: str) -> _Engine:
        if self._closed:
            raise ProviderError(module, "the engine processes are closed")
        if module not in self._engines:
            self._engines[module] = _Engine(module.rpartition(".")[2], self._clock, self._request_limit_s, self._max_waiting)
        return self._engines[module]


class _Engine:
    """One process, its queue, and the task that carries requests to it."""

    def __init__(self, name: str, clock: Clock, request_limit_s: float, max_waiting: int) -> None:
        self._name = name
        self._clock = clock
        self._request_limit_s = request_limit_s
        self._max_waiting = max_waiting
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()
        self._process: _Process | None = None
        self._carrier = asyncio.create_task(self._carry(), name=f"engine {name}")

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if len(self._waiting) >= self._max_waiting:
            raise ProviderError(self._name, f"{self._max_waiting} requests are waiting already", retryable=True)
        request = _Request(function, args, asyncio.get_running_loop().create_future(), self._clock.now())
        self._waiting.append(request)
        self._arrived.set()
        try:
            return await request.answer
        finally:
            if not request.answer.done() or request.answer.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(request)

    async def close(self) -> None:
        self._carrier.cancel()
        await asyncio.gather(self._carrier, return_exceptions=True)
        for request in self._waiting:
            _fail(request, ProviderError(self._name, "closed"))
        self._waiting.clear()

    async def _carry(self) -> None:
        """Carry one request after the other to the process, starting it when there is none."""
        try:
            while True:
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                await self._serve(self._waiting.popleft())
        finally:
            if self._process is not None:
                await self._process.close()

    async def _serve(self, request: _Request) -> None:
        begun_at = self._clock.now()
        try:
            if self._process is None:
                self._process = await _Process.start(self._name)
            async with asyncio.timeout(self._request_limit_s) as limit:
                forget = _hurry_when_abandoned(request, limit)
                try:
                    succeeded, value = await self._process.ask(request.function, request.args)
                finally:
                    forget()
        except (OSError, EOFError, TimeoutError) as error:
            reason = f"its process died ({str(error) or type(error).__name__})"
            if isinstance(error, TimeoutError):
                reason = "it was abandoned and killed" if request.answer.cancelled() else "it hung and was killed"
            logger.error("engine process lost", extra={"engine": self._name, "reason": reason})
            _fail(request, ProviderError(self._name, reason, retryable=True))
            await self._discard()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            _fail(request, ProviderError(self._name, f"the request cannot be sent to the process: {error}"))
        except asyncio.CancelledError:
            _fail(request, ProviderError(self._name, "closed"))
            raise
        else:
            if succeeded:
                _fulfil(request, value)
            else:
                _fail(request, ProviderError(self._name, value))
            self._log_latency(request, begun_at)

    async def _discard(self) -> None:
        """The process is dead, or hangs."""
        if self._process is not None:
            self._process.kill()
            await self._process.close()
            self._process = None  # not before: cancelled meanwhile, it is closed at the end

    def _log_latency(self, request: _Request, begun_at: float) -> None:
        waited_s, took_s = begun_at - request.asked_at, self._clock.now() - begun_at
        level = logging.WARNING if waited_s > SLOW_WAIT_S else logging.DEBUG
        fields = {
            "engine": self._name,
            "function": request.function.__name__,
            "waited_ms": round(waited_s * 1000, 1),
            "took_ms": round(took_s * 1000, 1),
            "n_waiting": len(self._waiting),
        }
        logger.log(level, "engine request served", extra=fields)


class _Process:
    """A running process and the socket to it."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, name: str) -> _Process:
        """Start the process. It ends by itself when our end of the socket is closed, also if this is cancelled."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                command = (sys.executable, "-m", engine_process.__name__, name, str(theirs.fileno()))
                process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        logger.info("engine process started", extra={"engine": name, "pid": process.pid})
        return cls(process, reader, writer)

    async def ask(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
        """Send one request and wait for its answer. Raises OSError or EOFError when the process dies, and what pickling raises."""
        self._writer.write(engine_process.frame((function, args)))
        await self._writer.drain()
        head = await self._reader.readexactly(engine_process.LENGTH.size)
        body = await self._reader.readexactly(engine_process.LENGTH.unpack(head)[0])
        answer: tuple[bool, Any] = pickle.loads(body)  # noqa: S301 - our own child process, over a socket nobody else has
        return answer

    def kill(self) -> None:
        """End it without asking it to leave."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """End the process: it leaves when its socket closes, and is killed when it does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _hurry_when_abandoned(request: _Request, limit: asyncio.Timeout) -> Callable[[], object]:
    """Shorten `limit` once nobody waits for `request`. Gives what ends that."""
    loop = asyncio.get_running_loop()
    is_over = False

    def hurry(answer: asyncio.Future[Any]) -> None:
        due = limit.when()
        if answer.cancelled() and due is not None and not is_over and not limit.expired():
            limit.reschedule(min(due, loop.time() + ABANDONED_LIMIT_S))

    def forget() -> None:
        nonlocal is_over  # the loop may have `hurry` on its list already, where nothing takes it off
        is_over = True
        request.answer.remove_done_callback(hurry)

    request.answer.add_done_callback(hurry)
    return forget


def _fulfil(request: _Request, value: Any) -> None:
    if not request.answer.done():
        request.answer.set_result(value)


def _fail(request: _Request, error: ProviderError) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
