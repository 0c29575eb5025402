"""MCP tools in a call: found, filtered, offered; a server that is missing costs nothing but its tools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.playbook.scenes import McpOption
from active_call.base.errors import PlaybookError, ProviderError
from active_call.call.conversation.mcp_tools import find_tools, settings_of
from active_call.call.opening.routing import Playbooks
from active_call.providers.chat import ToolDefinition
from active_call.providers.mcp.settings import McpSettings

SHOP = McpSettings("shop", url="http://shop/mcp")


class Pool:
    def __init__(self, *, fails: bool = False) -> None:
        self.configured = {"shop": SHOP}
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.fails = fails

    def connection(self, settings: McpSettings) -> Pool:
        if self.fails:
            raise ProviderError(settings.name, "not connected")
        return self

    async def tools(self) -> tuple[ToolDefinition, ...]:
        return (ToolDefinition("look", "Looks.", {"type": "object"}), ToolDefinition("wipe"))

    async def call(self, name: str, arguments: dict[str, Any], timeout_s: float) -> str:
        self.called.append((name, arguments))
        return "seen"


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str, **_: Any) -> None:
        self.lines.append(message)


def found(pool: Pool, *options: McpOption, functions: dict[str, Any] | None = None) -> tuple[list[str], dict[str, Any], list[str]]:
    offered: list[str] = []
    functions, log = {} if functions is None else functions, Log()
    offer = lambda tools: offered.extend(tool.name for tool in tools)  # noqa: E731
    asyncio.run(find_tools(functions, offer, options=options, pool=pool, log=log))  # type: ignore[arg-type]
    return offered, functions, log.lines


def test_listed_tools_are_offered_and_called_by_name() -> None:
    pool = Pool()
    offered, functions, _ = found(pool, McpOption(name="shop"))
    assert offered == ["look", "wipe"]
    assert asyncio.run(functions["look"](at="roses")) == "seen" and pool.called == [("look", {"at": "roses"})]


def test_playbook_narrows_the_tools_and_a_taken_name_is_left_out() -> None:
    assert found(Pool(), McpOption(name="shop", tools=["look"]))[0] == ["look"]
    assert found(Pool(), McpOption(name="shop"), functions={"look": print})[0] == ["wipe"]
    narrowed = settings_of(McpOption(name="shop", tools=["wipe"]), {"shop": McpSettings("shop", url="http://s/", tools=("look",))})
    assert narrowed is not None and "wipe" not in narrowed.tools


def test_unknown_or_missing_server_is_logged_and_the_call_goes_on() -> None:
    assert found(Pool(), McpOption(name="gone")) == ([], {}, ["MCP server not known"])
    assert found(Pool(fails=True), McpOption(name="shop")) == ([], {}, ["MCP tools are missing"])


@pytest.mark.parametrize("matter", ["mcp: [{command: sh}]", "mcp: shop", "llm: {provider: openai, mcp: [{url: 'http://x/'}]}"])
def test_text_that_came_over_http_names_no_mcp_servers(matter: str) -> None:
    text = f"---\n{matter}\n---\nHello.\n"
    with pytest.raises(PlaybookError, match="not a text that came over HTTP"):
        Playbooks(lambda name: None, {}).parse(text)  # type: ignore[arg-type,return-value]
    assert len(parse_playbook(text, file="own.md", environment={}).mcp) == 1


def test_entry_without_a_way_to_reach_it_is_a_mistake() -> None:
    for entry in ("[{}]", "[{command: a, url: 'http://b/'}]"):
        with pytest.raises(PlaybookError, match="mcp"):
            parse_playbook(f"---\nmcp: {entry}\n---\nHi.\n", file="own.md", environment={})
