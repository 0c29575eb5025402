"""MCP servers that break: programs that are killed, hang, write garbage, too much, or too long; web servers that are started again."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from faulty_mcp.web_server import faulty_web_server

from active_call.base.errors import ProviderError
from active_call.providers.mcp.connection import LIST_AGAIN_S, McpConnection, connect_with_sdk
from active_call.providers.mcp.pool import IDLE_S, McpPool
from active_call.providers.mcp.settings import McpSettings
from active_call.testing.virtual_time import VirtualClock, run_virtually

pytest.importorskip("mcp")

PROGRAM = McpSettings(
    "faulty",
    command=sys.executable,
    args=(str(Path(__file__).parents[1] / "faulty_mcp" / "program.py"),),
    env={"SHOP_KEY": "s3cret-of-the-shop"},
)


class RealClock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()


def with_connection(settings: McpSettings, run: Callable[[McpConnection], Any]) -> None:
    async def whole() -> None:
        connection = McpConnection(settings, connect_with_sdk, RealClock())  # type: ignore[arg-type]
        await connection.tools()
        try:
            await run(connection)
        finally:
            await connection.close()

    asyncio.run(whole())


async def outcome(connection: McpConnection, tool: str, timeout_s: float = 8.0) -> str:
    try:
        return await connection.call(tool, {}, timeout_s)
    except ProviderError as error:
        return str(error)


def programs() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "faulty_mcp" in " ".join(one.cmdline())]


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("garbage", "after garbage"),
        ("killed", "the connection is lost: the program was ended by SIGKILL"),
        ("leave", "the connection is lost: the program ended with exit code 3"),
        ("close_output", "the connection is lost: the program has closed its output"),
        ("huge", "the connection is lost: a message is longer than 4194304 bytes"),
        ("flood", "flooded"),
    ],
)
def test_next_call_after_a_fault_of_the_program_works(tool: str, words: str) -> None:
    async def run(connection: McpConnection) -> None:
        assert words in await outcome(connection, tool, 20.0)
        assert await outcome(connection, "ok", 20.0) == "fine"

    with_connection(PROGRAM, run)
    assert programs() == []


def test_program_that_is_killed_while_nobody_asks_is_started_again_for_the_next_call(caplog: pytest.LogCaptureFixture) -> None:
    async def run(connection: McpConnection) -> None:
        (program,) = programs()
        os.kill(program.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            while "MCP connection lost" not in caplog.text:
                await asyncio.sleep(0.01)
        assert await outcome(connection, "ok") == "fine"

    with caplog.at_level(logging.INFO):
        with_connection(PROGRAM, run)
    (lost,) = [record for record in caplog.records if record.message == "MCP connection lost"]
    assert lost.server == "faulty" and lost.error.startswith("the program was ended by SIGKILL")  # type: ignore[attr-defined]


def test_what_a_program_says_is_logged_within_limits_and_without_keys(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def run(connection: McpConnection) -> None:
        assert await outcome(connection, "tell_key") == "told"
        assert await outcome(connection, "flood", 20.0) == "flooded"

    with caplog.at_level(logging.INFO):
        with_connection(PROGRAM, run)
    said = [record.line for record in caplog.records if record.message == "MCP server says"]  # type: ignore[attr-defined]
    assert said[0] == "my key is ***"
    assert 5 <= len(said) <= 200
    (left_out,) = {record.message for record in caplog.records if "n_lines_left_out" in vars(record)}
    assert left_out == "MCP server says too much"
    assert "warning" not in capfd.readouterr().err


def test_lines_that_are_no_messages_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def run(connection: McpConnection) -> None:
        for _ in range(3):
            assert await outcome(connection, "garbage") == "after garbage"

    with_connection(PROGRAM, run)
    assert [record.message for record in caplog.records].count("MCP server writes no messages") == 1


def test_web_server_that_is_started_again_gets_a_new_session_and_runs_the_tool_once() -> None:
    with faulty_web_server() as server:

        async def run(connection: McpConnection) -> None:
            assert await outcome(connection, "ok") == "fine"
            server.sessions.clear()
            assert await outcome(connection, "ok") == "fine"

        with_connection(McpSettings("web", url=server.url), run)
        assert server.n_called == 2


@pytest.mark.parametrize("tool", ["garbage", "huge", "status", "cut", "bomb"])
def test_next_call_after_a_fault_of_the_web_server_works(tool: str) -> None:
    with faulty_web_server() as server:

        async def run(connection: McpConnection) -> None:
            words = await outcome(connection, tool)
            assert re.match("web: ", words), words[:200]
            assert await outcome(connection, "ok") == "fine"

        with_connection(McpSettings("web", url=server.url), run)


# -- in virtual time


class FakeServer:
    """`answers`: of the tools. A client that was opened before `hangs` was set answers nothing."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.n_connected = self.n_open = self.n_listed = 0
        self.hanging: set[int] = set()
        self.names = ["a"]

    @asynccontextmanager
    async def connect(self, _: McpSettings, ended: Callable[[str], object]) -> AsyncIterator[Any]:
        self.n_connected += 1
        self.n_open += 1
        number = self.n_connected

        async def list_tools(*, cursor: str | None = None) -> Any:
            await self._wait(number)
            self.n_listed += 1
            tools = [SimpleNamespace(name=name, description="", input_schema={"type": "object"}) for name in self.names]
            return SimpleNamespace(tools=tools, next_cursor=None)

        async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
            await self._wait(number)
            answer = self.answers.get(name, "fine")
            if isinstance(answer, asyncio.Future):
                answer = await asyncio.shield(answer)
            return SimpleNamespace(content=[SimpleNamespace(text=answer)], is_error=False)

        try:
            yield SimpleNamespace(list_tools=list_tools, call_tool=call_tool)
        finally:
            await asyncio.sleep(4)  # it takes its time to end
            self.n_open -= 1

    async def _wait(self, number: int) -> None:
        if number in self.hanging:
            await asyncio.sleep(10_000)


def story(run: Callable[[FakeServer, McpPool], Any]) -> None:
    async def whole() -> None:
        server = FakeServer()
        pool = McpPool({}, VirtualClock(asyncio.get_running_loop()), server.connect)
        await run(server, pool)
        await pool.close()
        assert server.n_open == 0

    run_virtually(whole())


SHOP = McpSettings("shop", url="http://127.0.0.1:1/mcp")


def test_server_that_answers_nothing_more_is_connected_again() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        connection = pool.connection(SHOP)
        assert await connection.call("a", {}, 30) == "fine"
        server.hanging.add(1)
        assert "no answer within 30 s" in await outcome(connection, "a", 30)
        begun = asyncio.get_running_loop().time()
        assert "the connection is lost" in await outcome(connection, "a", 30) or server.n_connected == 2
        await asyncio.sleep(6)
        assert await outcome(connection, "a", 30) == "fine"
        assert asyncio.get_running_loop().time() - begun < 40
        assert server.n_connected == 2

    story(run)


def test_tool_that_is_slow_on_a_server_that_answers_does_not_cost_the_connection() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        server.answers["slow"] = asyncio.get_running_loop().create_future()
        connection = pool.connection(SHOP)
        other = asyncio.ensure_future(connection.call("slow", {}, 100))
        assert "no answer within 30 s" in await outcome(connection, "slow", 30)
        await asyncio.sleep(10)
        server.answers["slow"].set_result("done")
        assert await other == "done"
        assert server.n_connected == 1

    story(run)


def test_failure_of_an_old_session_does_not_end_the_new_one() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        breaking = asyncio.get_running_loop().create_future()
        server.answers |= {"breaks": breaking, "later": asyncio.get_running_loop().create_future()}
        connection = pool.connection(SHOP)
        first, second = (asyncio.ensure_future(outcome(connection, name, 100)) for name in ("breaks", "later"))
        await asyncio.sleep(1)
        breaking.set_exception(EOFError("gone"))
        assert "the connection is lost" in await first
        third = asyncio.ensure_future(outcome(connection, "new", 100))
        server.answers["new"] = held = asyncio.get_running_loop().create_future()
        await asyncio.sleep(1)
        assert "the connection is lost: gone" in await second
        await asyncio.sleep(10)
        held.set_result("whole")
        assert await third == "whole"
        assert server.n_connected == 2

    story(run)


def test_loss_is_told_at_once_although_the_program_takes_time_to_end() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        breaking = asyncio.get_running_loop().create_future()
        server.answers["breaks"] = breaking
        breaking.set_exception(EOFError("gone"))
        begun = asyncio.get_running_loop().time()
        assert "the connection is lost" in await outcome(pool.connection(SHOP), "breaks", 30)
        assert await outcome(pool.connection(SHOP), "a", 30) == "fine"
        assert asyncio.get_running_loop().time() - begun < 0.5

    story(run)


def test_tools_that_a_server_has_changed_are_seen_by_later_calls() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        assert [tool.name for tool in await pool.connection(SHOP).tools()] == ["a"]
        server.names = ["b"]
        await asyncio.sleep(LIST_AGAIN_S + 1)
        assert [tool.name for tool in await pool.connection(SHOP).tools()] == ["b"]
        assert server.n_listed == 2

    story(run)


def test_pool_keeps_a_connection_whose_tool_runs_and_closes_others_without_waiting() -> None:
    async def run(server: FakeServer, pool: McpPool) -> None:
        server.answers["long"] = asyncio.get_running_loop().create_future()
        running = asyncio.ensure_future(outcome(pool.connection(SHOP), "long", 10_000))
        idle = McpSettings("idle", url="http://127.0.0.1:2/mcp")
        await pool.connection(idle).tools()
        await asyncio.sleep(IDLE_S + 1)
        begun = asyncio.get_running_loop().time()
        pool.connection(McpSettings("other", url="http://127.0.0.1:3/mcp"))
        assert asyncio.get_running_loop().time() == begun
        await asyncio.sleep(5)
        assert server.n_open == 1
        server.answers["long"].set_result("whole")
        assert await running == "whole"

    story(run)
