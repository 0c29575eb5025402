"""Runs the tools that a conversation starts: registered Python callables and HTTP requests, each with a time limit.

A name with checked arguments enters, or a complete request; exactly one result or error leaves for each call, by `finish`. A coroutine
function runs on the loop; a plain function runs in a thread, which cannot be stopped: a cancelled one runs to its end, and its result is
ignored. Functions are the user's and may do anything: each runs in a task of its own, for which neither a result nor the end of the call
waits, and `sys.exit` in one is an error of that tool. At most `MAX_AT_ONCE` calls run at once; further ones get an error text.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import httpx
import msgspec

from active_call.agent import effects
from active_call.call.conversation.tool_threads import ToolThreads
from active_call.call.conversation.web_requests import WebRequests
from active_call.call.log import CallLog

MAX_AT_ONCE = 16
"""Tool calls that run at once for one telephone call."""
BUSY = "too many tools are running"
CANCELLED = "the tool was cancelled"
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
        self._threads = ToolThreads()
        """A pool of its own, so that a plain function that never returns delays no other call. Threads are created when needed."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[Any]] = set()
        """The functions, also those that are given up and have not ended."""

    def run(self, effect: effects.RunTool) -> None:
        """Start one call."""
        function = self._functions.get(effect.name)
        if function is None:
            self._finish(effects.ToolFinished(effect.id, error=f"the tool {effect.name} cannot run here"))
            return
        if max(len(self._tasks), len(self._running)) >= MAX_AT_ONCE:
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
        own = asyncio.current_task()
        name = own.get_name() if own is not None else effect.name  # it names the call
        running = asyncio.get_running_loop().create_task(_call(function, effect.arguments, self._threads), name=name)
        self._running.add(running)
        running.add_done_callback(self._seen)
        try:
            await asyncio.wait({running}, timeout=effect.timeout_s)
        finally:
            is_late = not running.done()
            running.cancel()
        self._tasks.pop(effect.id, None)
        self._finish(self._late(effect) if is_late else self._result_of(running, effect))

    def _result_of(self, running: asyncio.Task[Any], effect: effects.RunTool) -> effects.ToolFinished:
        if running.cancelled():  # by itself, or by what it waited for
            self._log.warning("tool failed", extra={"fields": {"tool": effect.name, "error": CANCELLED}})
            return effects.ToolFinished(effect.id, error=CANCELLED)
        try:
            return effects.ToolFinished(effect.id, _as_text(running.result())[:MAX_RESULT_CHARS])
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything; the model gets the error
            self._log.warning("tool failed", exc_info=error, extra={"fields": {"tool": effect.name}})
            return effects.ToolFinished(effect.id, error=(_words_of(error) or type(error).__name__)[:MAX_RESULT_CHARS])

    def _late(self, effect: effects.RunTool) -> effects.ToolFinished:
        text = f"no answer within {effect.timeout_s:g} s"
        self._log.warning("tool failed", extra={"fields": {"tool": effect.name, "error": text, "threads": self._threads.places()}})
        return effects.ToolFinished(effect.id, error=text)

    def _seen(self, running: asyncio.Task[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # it may be given up


async def _call(function: ToolFunction, arguments: Mapping[str, Any], threads: ToolThreads) -> Any:
    """The result of `function`. An exception that would end the program ends the function: RuntimeError."""
    try:
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        context = contextvars.copy_context()
        work = partial(context.run, partial(_in_thread, function, arguments))
        result = await asyncio.get_running_loop().run_in_executor(threads, work)
        return await result if inspect.isawaitable(result) else result
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {_words_of(error)}") from error


def _in_thread(function: ToolFunction, arguments: Mapping[str, Any]) -> Any:
    """As `function`. A future does not take StopIteration."""
    try:
        return function(**arguments)
    except StopIteration as error:
        raise RuntimeError("StopIteration") from error


def _words_of(error: BaseException) -> str:
    """The text of an error, whose class may be the user's."""
    try:
        return _sendable(str(error))
    except Exception:  # noqa: BLE001 - a user's `__str__`
        return ""


def _sendable(text: str) -> str:
    """`text` as it can be sent to a model: a lone surrogate has no form in UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _as_text(result: Any) -> str:
    """A result as text for a model: a string unchanged, None as "done", anything else as JSON if possible."""
    if isinstance(result, str):
        return _sendable(result)
    if result is None:
        return "done"
    try:
        return msgspec.json.encode(result).decode()
    except (TypeError, ValueError, UnicodeError):
        return _sendable(str(result))
