"""Python callables as tools: results as text, errors in words, time limits, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from active_call.agent.effects import RunTool, ToolFinished
from active_call.call.conversation import tool_threads
from active_call.call.conversation.tool_execution import BUSY, CANCELLED, MAX_AT_ONCE, MAX_RESULT_CHARS, ToolExecution
from active_call.call.log import CallLog

QUIET = logging.Logger("test.quiet")  # noqa: LOG001 (outside of the hierarchy)
"""pytest's report cannot carry every text that a tool may raise (half a surrogate pair)."""
QUIET.addHandler(logging.NullHandler())


def run(
    function: Callable[..., Any], arguments: dict[str, Any] | None = None, *, timeout_s: float = 5.0, logger: logging.Logger = QUIET
) -> ToolFinished:
    """The result of one call of `function`."""

    async def go() -> ToolFinished:
        finished: asyncio.Queue[ToolFinished] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            execution = ToolExecution(
                {"tool": function},
                lambda work, name: tasks.create_task(work, name=name),
                finished.put_nowait,
                CallLog(logger, {}),
            )
            execution.run(RunTool("c1", "tool", arguments or {}, timeout_s))
            found = await finished.get()
        assert finished.empty()
        return found

    return asyncio.run(go())


async def double(n: int) -> int:
    return n * 2


def test_coroutine_function_runs_on_the_loop():
    assert run(double, {"n": 4}) == ToolFinished("c1", "8")


def test_plain_function_runs_in_a_thread():
    def where() -> str:
        return str(threading.current_thread() is threading.main_thread())

    assert run(where) == ToolFinished("c1", "False")


@pytest.mark.parametrize(("result", "text"), [("words", "words"), (None, "done"), ({"a": [1]}, '{"a":[1]}'), (1j, "1j")])
def test_result_becomes_text(result, text):
    assert run(lambda: result).result == text


def test_long_result_is_cut():
    assert len(run(lambda: "x" * 20_000).result) == MAX_RESULT_CHARS


def test_error_is_told_in_words():
    def fail() -> None:
        raise ValueError("closed on Monday")

    assert run(fail).error == "closed on Monday"
    assert run(lambda **given: None, {"n": 1}).error is None
    assert "unexpected keyword" in (run(lambda: None, {"n": 1}).error or "")


def test_tool_that_is_too_slow_has_failed():
    async def slow() -> None:
        await asyncio.Event().wait()

    assert run(slow, timeout_s=0.01).error == "no answer within 0.01 s"


def test_timeout_inside_the_tool_is_its_own_error():
    async def impatient() -> None:
        raise TimeoutError("the kitchen does not answer")

    assert run(impatient).error == "the kitchen does not answer"


def test_cancelled_tool_gives_no_result_and_an_unknown_one_gives_an_error():
    async def go() -> list[ToolFinished]:
        finished: list[ToolFinished] = []
        tasks: list[asyncio.Task[None]] = []

        def spawn(work, name):
            tasks.append(asyncio.get_running_loop().create_task(work, name=name))
            return tasks[-1]

        execution = ToolExecution({"wait": asyncio.Event().wait}, spawn, finished.append, CallLog(logging.getLogger("test"), {}))
        execution.run(RunTool("c1", "wait", {}, 5.0))
        await asyncio.sleep(0)
        execution.cancel("c1")
        execution.cancel("c1")
        await asyncio.wait(tasks)
        assert tasks[0].cancelled()
        execution.run(RunTool("c2", "cook", {}, 5.0))
        return finished

    assert asyncio.run(go()) == [ToolFinished("c2", error="the tool cook cannot run here")]


def test_plain_function_that_never_returns_keeps_no_other_tool_and_no_other_work_waiting():
    held = threading.Event()

    async def go() -> list[str]:
        finished: asyncio.Queue[Any] = asyncio.Queue()
        functions = {"stuck": held.wait, "quick": lambda: "here"}
        async with asyncio.TaskGroup() as tasks:
            spawn = lambda work, name: tasks.create_task(work, name=name)  # noqa: E731
            execution = ToolExecution(functions, spawn, finished.put_nowait, CallLog(logging.getLogger("test"), {}))
            for n in range(3):
                execution.run(RunTool(f"s{n}", "stuck", {}, 0.2))
            execution.run(RunTool("q", "quick", {}, 5))
            first = await finished.get()
            others = [await finished.get() for _ in range(3)]
            assert await asyncio.to_thread(lambda: "free") == "free"
            execution.close()
        held.set()
        return [first.result, *(one.error for one in others)]

    assert asyncio.run(go()) == ["here", *["no answer within 0.2 s"] * 3]


def test_too_many_calls_at_once_are_refused_in_words():
    async def go() -> list[Any]:
        finished: asyncio.Queue[Any] = asyncio.Queue()

        async def wait() -> str:
            await asyncio.sleep(0.05)
            return "done"

        async with asyncio.TaskGroup() as tasks:
            spawn = lambda work, name: tasks.create_task(work, name=name)  # noqa: E731
            execution = ToolExecution({"wait": wait}, spawn, finished.put_nowait, CallLog(logging.getLogger("test"), {}))
            for n in range(MAX_AT_ONCE + 1):
                execution.run(RunTool(f"w{n}", "wait", {}, 5))
            return [await finished.get() for _ in range(MAX_AT_ONCE + 1)]

    first, *others = asyncio.run(go())
    assert first == ToolFinished(f"w{MAX_AT_ONCE}", error=BUSY) and all(one.result == "done" for one in others)


class Odd(BaseException):
    """Not an Exception."""


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def never_ends_json() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
        (Odd("odd"), "Odd: odd"),
        (StopIteration(), "StopIteration"),
        (Unreadable(), "Unreadable"),
        (ValueError("half \ud800"), "half ?"),
        (asyncio.CancelledError(), CANCELLED),
    ],
)
def test_whatever_a_function_raises_is_an_error_of_the_tool(error: BaseException, words: str, *, is_async: bool) -> None:
    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    assert words in (run(fail_async if is_async else fail).error or "")


@pytest.mark.parametrize(
    "make", [never_ends_json, lambda: "half \ud800", lambda: {"half": "\ud800"}, lambda: b"\xff", lambda: float("nan")]
)
def test_odd_result_is_text_that_can_be_sent(make: Callable[[], Any]) -> None:
    finished = run(make)
    assert finished.error or finished.result
    (finished.error or finished.result).encode()


def test_function_that_ignores_its_cancellation_keeps_neither_its_result_nor_the_call_waiting() -> None:
    async def go() -> list[Any]:
        let_go, finished = asyncio.Event(), asyncio.Queue[Any]()

        async def stubborn() -> None:
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            spawn = lambda work, name: tasks.create_task(work, name=name)  # noqa: E731
            execution = ToolExecution({"tool": stubborn}, spawn, finished.put_nowait, CallLog(logging.getLogger("test"), {}))
            for n in range(MAX_AT_ONCE + 1):
                execution.run(RunTool(f"c{n}", "tool", {}, 0.05))
                await asyncio.sleep(0)
            errors = [(await finished.get()).error for _ in range(MAX_AT_ONCE + 1)]
            execution.run(RunTool("one more", "tool", {}, 0.05))
            errors.append((await finished.get()).error)
        let_go.set()
        await asyncio.sleep(0)
        return errors

    errors = asyncio.run(go())
    assert (errors[0], errors[-1]) == (BUSY, BUSY)
    assert set(errors[1:-1]) == {"no answer within 0.05 s"}


def test_late_plain_function_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    held = threading.Event()

    def stuck_in_the_kitchen() -> None:
        held.wait()

    try:
        assert run(stuck_in_the_kitchen, timeout_s=0.1, logger=logging.getLogger("test")).error == "no answer within 0.1 s"
    finally:
        held.set()
    (record,) = [one for one in caplog.records if one.message == "tool failed"]
    (place,) = record.fields["threads"]  # type: ignore[attr-defined]
    assert "wait" in place


def test_functions_that_never_return_are_limited_over_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_threads, "MAX_THREADS_OF_ALL", 8)
    held = threading.Event()

    async def go() -> list[str]:
        finished: asyncio.Queue[Any] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            spawn = lambda work, name: tasks.create_task(work, name=name)  # noqa: E731
            for call in range(3):
                execution = ToolExecution({"stuck": held.wait}, spawn, finished.put_nowait, CallLog(logging.getLogger("test"), {}))
                for n in range(4):
                    execution.run(RunTool(f"s{call}-{n}", "stuck", {}, 0.2))
                await asyncio.sleep(0.05)
            return [(await finished.get()).error or "" for _ in range(12)]

    try:
        errors = asyncio.run(go())
    finally:
        held.set()
    assert sorted(errors) == sorted([tool_threads.TOO_MANY] * 4 + ["no answer within 0.2 s"] * 8)


def test_program_ends_although_functions_of_tools_do_not() -> None:
    program = """
import threading, time
from active_call.call.conversation.tool_threads import ToolThreads
ToolThreads().submit(threading.Event().wait)
time.sleep(0.1)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
