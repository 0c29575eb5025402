"""Runs the tools that a conversation starts: registered Python callables and HTTP requests, each with a time limit.

A name with checked arguments enters, or a complete request; exactly one result or error leaves for each call, by `finish`. A coroutine
function runs on the loop as a task of the call; a plain function runs in a thread, which cannot be stopped: a cancelled one runs to its
end, and its result is ignored. At most `MAX_AT_ONCE` calls run at once; further ones get an error text.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import msgspec

from active_call.agent import effects
from active_call.call.conversation.web_requests import WebRequests
from active_call.call.log import CallLog

MAX_THREADS = 4
"""Plain functions that run at once for one telephone call; others wait within their time limit."""
MAX_AT_ONCE = 16
"""Tool calls that run at once for one telephone call."""
BUSY = "too many tools are running"
MAX_RESULT_CHARS = 8_000
"""How much of a result the model gets."""

ToolFunction = Callable[..., Any]
"""A coroutine function or a plain function; arguments are passed by name."""


class ToolExecution:
    """Runs the tools of one call. `functions` and `requests`: by tool name."""

    def __init__(
        self,
        functions: Mapping[str, ToolFunction],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        finish: Callable[[effects.ToolFinished | effects.ToolAnswered], None],
        log: CallLog,
        requests: Mapping[str, WebRequests] | None = None,
    ) -> None:
        self._functions = functions
        self._spawn = spawn
        self._finish = finish
        self._log = log
        self._requests = requests or {}
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="tool")
        """A pool of its own, so that a plain function that never returns delays no other call. Threads are created when needed."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def run(self, effect: effects.RunTool) -> None:
        """Start one call."""
        function = self._functions.get(effect.name)
        if function is None:
            self._finish(effects.ToolFinished(effect.id, error=f"the tool {effect.name} cannot run here"))
            return
        if len(self._tasks) >= MAX_AT_ONCE:
            self._finish(effects.ToolFinished(effect.id, error=BUSY))
            return
        self._tasks[effect.id] = self._spawn(self._run(function, effect), f"tool {effect.name} {effect.id}")

    def send(self, effect: effects.SendToolRequest) -> None:
        """Send the request of one call."""
        requests = self._requests.get(effect.tool)
        if requests is None or len(self._tasks) >= MAX_AT_ONCE:
            self._finish(effects.ToolAnswered(effect.id, error=BUSY if requests else f"the tool {effect.tool} cannot run here"))
            return
        self._tasks[effect.id] = self._spawn(self._send(requests, effect), f"tool {effect.tool} {effect.id}")

    async def _send(self, requests: WebRequests, effect: effects.SendToolRequest) -> None:
        made = effect.request
        try:
            response = await requests.request(
                made.method, made.url, content=made.body, headers=dict(made.headers), timeout=effect.timeout_s
            )
            answered = effects.ToolAnswered(effect.id, response.status_code, response.text)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: an address or a body that cannot be sent
            self._log.warning("tool request failed", extra={"fields": {"tool": effect.tool, "error": type(error).__name__}})
            answered = effects.ToolAnswered(effect.id, error=str(error)[:MAX_RESULT_CHARS] or type(error).__name__)
        self._tasks.pop(effect.id, None)
        self._finish(answered)

    def close(self) -> None:
        """The call has ended: drop what has not begun, and ignore the results of what runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def cancel(self, run_id: str) -> None:
        """Cancel one call whose result is no longer needed."""
        task = self._tasks.pop(run_id, None)
        if task is not None:
            task.cancel()

    async def _run(self, function: ToolFunction, effect: effects.RunTool) -> None:
        limit = asyncio.timeout(effect.timeout_s)
        try:
            async with limit:
                result = await _call(function, effect.arguments, self._threads)
            finished = effects.ToolFinished(effect.id, _as_text(result)[:MAX_RESULT_CHARS])
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything; the model gets the error
            self._log.warning("tool failed", exc_info=error, extra={"fields": {"tool": effect.name}})
            text = f"no answer within {effect.timeout_s:g} s" if limit.expired() else str(error) or type(error).__name__
            finished = effects.ToolFinished(effect.id, error=text[:MAX_RESULT_CHARS])
        self._tasks.pop(effect.id, None)
        self._finish(finished)


async def _call(function: ToolFunction, arguments: Mapping[str, Any], threads: Executor) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    context = contextvars.copy_context()
    result = await asyncio.get_running_loop().run_in_executor(threads, partial(context.run, partial(function, **arguments)))
    return await result if inspect.isawaitable(result) else result


def _as_text(result: Any) -> str:
    """A result as text for a model: a string unchanged, None as "done", anything else as JSON if possible."""
    if isinstance(result, str):
        return result
    if result is None:
        return "done"
    try:
        return msgspec.json.encode(result).decode()
    except (TypeError, ValueError, UnicodeError):
        return str(result)
