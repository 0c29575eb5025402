"""An MCP server: connected once, its tools listed and called, lost and connected again. With a fake client, and with a real program."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from active_call.base.errors import ProviderError
from active_call.providers.mcp.connection import RETRY_AFTER_S, McpConnection, connect_with_sdk
from active_call.providers.mcp.pool import IDLE_S, McpPool
from active_call.providers.mcp.settings import McpSettings
from active_call.testing.virtual_time import VirtualClock, run_virtually

SETTINGS = McpSettings("shop", url="http://127.0.0.1:1/mcp")
SERVER = McpSettings("echo", command=sys.executable, args=(str(Path(__file__).with_name("echo_server.py")),), env={"ECHO": "!"})


class FakeServer:
    """Counts connections; `fails` are raised by the next connections, `answers` are the results of calls."""

    def __init__(self) -> None:
        self.n_connected = self.n_closed = self.n_listed = 0
        self.fails: list[Exception] = []
        self.answers: list[Any] = []

    @asynccontextmanager
    async def connect(self, _: McpSettings, ended: Callable[[str], object]) -> AsyncIterator[Any]:
        self.ended = ended
        if self.fails:
            raise self.fails.pop(0)
        self.n_connected += 1
        try:
            yield self
        finally:
            self.n_closed += 1

    async def list_tools(self, *, cursor: str | None = None) -> Any:
        self.n_listed += 1
        tool = SimpleNamespace(name="a" if cursor is None else "b", description=None, input_schema={"type": "object"})
        return SimpleNamespace(tools=[tool], next_cursor="2" if cursor is None else None)

    async def call_tool(self, name: str, arguments: dict[str, Any], read_timeout_seconds: float | None = None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer == "never":
            await asyncio.sleep(1000)
        return SimpleNamespace(content=[SimpleNamespace(text=answer)], is_error=answer.startswith("bad"))


def story(run: Any) -> Any:
    async def whole() -> None:
        server = FakeServer()
        clock = VirtualClock(asyncio.get_running_loop())
        connection = McpConnection(SETTINGS, server.connect, clock)
        await run(server, connection)
        await connection.close()
        assert server.n_closed == server.n_connected

    run_virtually(whole())


def test_tools_of_all_pages_are_listed_once_a_connection() -> None:
    async def run(server: FakeServer, connection: McpConnection) -> None:
        first, second = await asyncio.gather(connection.tools(), connection.tools())
        assert [tool.name for tool in first] == [tool.name for tool in second] == ["a", "b"]
        await connection.tools()
        assert server.n_connected == 1

    story(run)


def test_result_error_and_late_answer_are_told_in_words() -> None:
    async def run(server: FakeServer, connection: McpConnection) -> None:
        server.answers = ["fine", "bad shelf", "never"]
        assert await connection.call("a", {}, 5) == "fine"
        with pytest.raises(ProviderError, match="bad shelf"):
            await connection.call("a", {}, 5)
        with pytest.raises(ProviderError, match="no answer within 5 s"):
            await connection.call("a", {}, 5)
        assert server.n_connected == 1

    story(run)


def test_errors_do_not_repeat_the_keys_of_a_server(caplog: pytest.LogCaptureFixture) -> None:
    settings = McpSettings(
        "shop",
        url="https://mcp.example/sse?key=s3cret-query",
        headers={"Authorization": "Bearer s3cret-header"},
        env={"SHOP_KEY": "s3cret-of-env", "DEBUG": "true"},
    )
    leak = "true: 401 for url 'https://mcp.example/sse?key=s3cret-query' with Bearer s3cret-header, s3cret-header, s3cret-of-env"

    async def run() -> None:
        server = FakeServer()
        clock = VirtualClock(asyncio.get_running_loop())
        connection = McpConnection(settings, server.connect, clock)
        server.fails.append(RuntimeError(leak))
        with pytest.raises(ProviderError) as refused:
            await connection.tools()
        assert "true: 401 for url 'https://mcp.example/sse?***'" in str(refused.value) and "s3cret" not in str(refused.value)
        await asyncio.sleep(RETRY_AFTER_S)
        server.answers.append(RuntimeError(leak))
        with pytest.raises(ProviderError) as lost:
            await connection.call("a", {}, 5.0)
        assert "s3cret" not in str(lost.value)
        await connection.close()

    run_virtually(run())
    assert "s3cret" not in caplog.text and all("s3cret" not in str(vars(record)) for record in caplog.records)


def test_tool_with_a_huge_schema_is_left_out() -> None:
    async def run(server: FakeServer, connection: McpConnection) -> None:
        schema = {"type": "object", "properties": {f"p{n}": {} for n in range(9_000)}}
        huge = SimpleNamespace(name="huge", description="", input_schema=schema)
        small = SimpleNamespace(name="small", description="", input_schema={"type": "object"})

        async def list_tools(*, cursor: str | None = None) -> Any:
            return SimpleNamespace(tools=[huge, small], next_cursor=None)

        server.list_tools = list_tools  # type: ignore[method-assign]
        assert [tool.name for tool in await connection.tools()] == ["small"]

    story(run)


def test_server_that_is_not_there_is_not_asked_again_for_a_while() -> None:
    async def run(server: FakeServer, connection: McpConnection) -> None:
        server.fails = [OSError("connection refused")]
        for _ in range(2):
            with pytest.raises(ProviderError, match="not connected: connection refused"):
                await connection.tools()
        assert server.n_connected == 0
        await asyncio.sleep(RETRY_AFTER_S + 1)
        assert len(await connection.tools()) == 2

    story(run)


def test_lost_connection_is_made_anew_by_the_next_call() -> None:
    async def run(server: FakeServer, connection: McpConnection) -> None:
        server.answers = [EOFError("gone"), "fine"]
        with pytest.raises(ProviderError, match="the connection is lost: gone"):
            await connection.call("a", {}, 5)
        assert await connection.call("a", {}, 5) == "fine"
        assert server.n_connected == 2

    story(run)


def test_pool_shares_equal_settings_and_closes_what_nobody_uses() -> None:
    async def whole() -> None:
        server = FakeServer()
        pool = McpPool({}, VirtualClock(asyncio.get_running_loop()), server.connect)
        one, other = pool.connection(SETTINGS), pool.connection(McpSettings("shop", url=SETTINGS.url, tools=("a",)))
        assert one is other
        await one.tools()
        await asyncio.sleep(IDLE_S + 1)
        await pool.connection(McpSettings("other", url="http://x/")).tools()
        assert (server.n_connected, server.n_closed) == (2, 1)
        await pool.close()
        assert server.n_closed == 2

    run_virtually(whole())


class RealClock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()


def test_real_program_is_started_asked_killed_and_started_again() -> None:
    pytest.importorskip("mcp")

    async def run() -> None:
        connection = McpConnection(SERVER, connect_with_sdk, RealClock())  # type: ignore[arg-type]
        assert {tool.name: tool.description for tool in await connection.tools()}["echo"] == "Says what it is told."
        assert await connection.call("echo", {"text": "hello"}, 10) == "hello !"
        with pytest.raises(ProviderError, match="the shelf is empty"):
            await connection.call("fail", {}, 10)
        with pytest.raises(ProviderError, match="the connection is lost"):
            await connection.call("die", {}, 10)
        assert await connection.call("echo", {"text": "again"}, 10) == "again !"
        await connection.close()

    asyncio.run(run())


def test_program_that_does_not_exist_is_told_in_words() -> None:
    pytest.importorskip("mcp")

    async def run() -> None:
        connection = McpConnection(McpSettings("gone", command="/no/such/program"), connect_with_sdk, RealClock())  # type: ignore[arg-type]
        with pytest.raises(ProviderError, match="not connected"):
            await connection.tools()
        await connection.close()

    asyncio.run(run())


def test_server_behind_a_url_is_asked_over_streamable_http() -> None:
    pytest.importorskip("mcp")

    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        program = await asyncio.create_subprocess_exec(*SERVER.command.split(), *SERVER.args, str(port), stderr=asyncio.subprocess.DEVNULL)
        try:
            await until_open(port)
            settings = McpSettings("echo", url=f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer t"})
            connection = McpConnection(settings, connect_with_sdk, RealClock())  # type: ignore[arg-type]
            assert "echo" in [tool.name for tool in await connection.tools()]
            assert await connection.call("echo", {"text": "hello"}, 10) == "hello"
            await connection.close()
        finally:
            program.terminate()
            await program.wait()

    asyncio.run(run())


async def until_open(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
