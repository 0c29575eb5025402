"""Every example of docs/tools.md runs: playbooks in whole calls, settings where they are read, programs as programs."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from calls_kit import a_call
from msgspec.structs import force_setattr

from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.agent.playbook.parser import parse_playbook
from active_call.call.conversation.mcp_tools import settings_of
from active_call.call.conversation.posthook import KINDS
from active_call.call.opening.options import choose_speech
from active_call.contract import events
from active_call.providers.chat import ChatModelCapabilities, TextDelta, ToolCallDelta
from active_call.server.config.config import Config
from active_call.server.setup.mcp import mcp_settings
from active_call.testing.fakes.providers import ToolUse
from active_call.testing.virtual_call import Caller, virtual_call
from active_call.testing.virtual_time import run_virtually

TEXT = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")
BLOCKS = [
    (title, kind, block)
    for title, section in re.findall(r"(?ms)^## (.*?)$(.*?)(?=^## |\Z)", TEXT)
    for kind, block in re.findall(r"(?ms)^```(\w+)\n(.*?)^```", section)
]


class ScriptedModel:
    """Gives its replies in turn: a text, or a tool and its arguments."""

    name = "scripted"
    capabilities = ChatModelCapabilities(tools=True, functions=True)

    def __init__(self, *replies: str | tuple[str, dict[str, Any]]) -> None:
        self.replies = list(replies)
        self.asked: list[Any] = []

    async def reply(self, request: Any) -> Any:
        self.asked.append(request)
        reply = self.replies.pop(0) if self.replies else "Yes."
        if isinstance(reply, str):
            yield TextDelta(reply)
        else:
            yield ToolCallDelta(0, json.dumps(reply[1]), f"c{len(self.asked)}", reply[0])

    async def close(self) -> None:
        pass


def results(model: ScriptedModel, index: int) -> list[str]:
    """The results of tools that the model was told with a request."""
    return [message.content for message in model.asked[index].messages if message.role == "tool"]


def in_a_call(book: str, model: ScriptedModel | None, story: Callable[[Any], Any], serve: Any = None) -> None:
    async def whole() -> None:
        async with a_call(book) as call, httpx.AsyncClient(transport=httpx.MockTransport(serve or (lambda _: httpx.Response(500)))) as http:
            force_setattr(call.dependencies, "http", http)
            if model is not None:
                call.engines.model = model
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await story(call)

    run_virtually(whole())


def matter(block: str) -> Any:
    text = f"---\n{block}---\nHelp.\n"
    reading = check_playbook(text, file="own.md", resources=PlaybookResources({}))
    assert [entry.text for entry in reading.findings.entries if entry.is_error] == []
    assert not [entry.text for entry in reading.findings.entries if "unknown key" in entry.text or "no effect" in entry.text]
    return parse_playbook(text, file="own.md", environment={})


def actions(block: str) -> None:
    model = ScriptedModel(("switch_language", {"code": "de"}), ("hangup_call", {}))

    async def story(call: Any) -> None:
        await call.says("sprechen sie deutsch")
        await call.until(lambda: bool(model.asked))
        assert [tool.name for tool in model.asked[0].tools] == ["hangup_call", "switch_language"]
        await call.says("auf wiedersehen")
        assert (await call.over()).hangup_by == "agent"

    in_a_call(block, model, story)


def http_tools(block: str) -> None:
    asked: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        is_order = request.method == "GET"
        return httpx.Response(200, json={"order": {"state": "on its way"}} if is_order else {"table": 4})

    model = ScriptedModel(
        ("order_status", {"order": "47 11"}), "It is on its way.", ("book", {"day": "soon", "people": 2}),
        ("book", {"day": "2026-05-01", "people": 2}), "Booked.",
    )  # fmt: skip

    async def story(call: Any) -> None:
        await call.says("where is my order")
        await call.until(lambda: "It is on its way." in call.spoken)
        assert "One moment, I am looking that up." in call.spoken
        assert results(model, 1) == ["on its way"]
        await call.quiet()
        await call.says("a table please")
        await call.until(lambda: "Booked." in call.spoken)
        assert "does not match the pattern" in results(model, 3)[-1]
        assert results(model, 4)[-1] == "Table 4 is booked for 2026-05-01."
        await call.quiet()

    in_a_call(block, model, story, serve)
    assert str(asked[0].url).startswith("https://shop.example/api/orders/47%2011?caller=")
    assert asked[0].headers["authorization"] == "Bearer none"
    assert json.loads(asked[1].content)["seats"] == 2 and len(asked) == 2


def while_a_tool_runs(block: str) -> None:
    (tool,) = matter(block).tools
    assert (tool.say_meanwhile, tool.cancellable, tool.result_at) == ("One moment, please.", False, "now")


def in_text(block: str) -> None:
    book = next(text for title, kind, text in BLOCKS if title == "HTTP tools" and kind == "markdown")

    class TextModel(ScriptedModel):
        capabilities = ChatModelCapabilities()

    model = TextModel(block, "It is sent.")

    async def story(call: Any) -> None:
        await call.says("where is my order")
        await call.until(lambda: "It is sent." in call.spoken)
        assert "One moment." in call.spoken
        assert any("[Result of order_status: sent]" in message.content for message in model.asked[1].messages)
        await call.quiet()

    in_a_call(book, model, story, lambda _: httpx.Response(200, json={"order": {"state": "sent"}}))


def python(block: str) -> None:
    program: dict[str, Any] = {"__name__": "bot"}
    exec(compile(block, "docs/tools.md", "exec"), program)

    async def caller(caller: Caller) -> None:
        await caller.hears("Flower shop")
        await caller.says("three roses")
        await caller.hears("Six dollars.")
        await caller.hangs_up()

    result = virtual_call(program["app"], caller, model=[ToolUse("price", {"flower": "rose", "count": 3}), "Six dollars."])
    assert "6 dollars" in [message.content for message in result.prompts[1].messages if message.role == "tool"]


def mcp_config(block: str) -> None:
    servers = mcp_settings(Config.model_validate(tomllib.loads(block)))
    assert servers["crm"].args == ("--read-only",) and servers["crm"].tools == ("find_customer",) and servers["crm"].timeout_s == 20
    assert servers["calendar"].headers == {"Authorization": "Bearer …"}


def mcp_playbook(block: str) -> None:
    config = next(text for title, kind, text in BLOCKS if kind == "toml")
    configured = mcp_settings(Config.model_validate(tomllib.loads(config)))
    found = [settings_of(option, configured) for option in matter(block).mcp]
    assert [server.name for server in found if server is not None] == ["crm", "calendar", "files"]
    assert found[1] is not None and found[1].tools == ("free_slots",)
    assert found[2] is not None and found[2].command == "files-mcp"


def knowledge(block: str) -> None:
    option = matter(block).knowledge
    assert (option.folder, option.mode, option.results, option.max_chars) == ("documents", "both", 3, 3000)


def collecting(block: str) -> None:
    async def story(call: Any) -> None:
        assert call.spoken[-1] == "Please enter or say the four digits of your order."
        await call.says("oh one two three")
        await call.until(lambda: any("does not begin with a zero" in text for text in call.spoken))
        for digit in "4711":
            call.leg.press(digit)
        await call.until(lambda: any("4711" in text for text in call.spoken))
        assert (await call.over()).variables["order"] == "4711"

    in_a_call(block, None, story)
    assert parse_playbook(block, file="own.md", environment={}).dtmf_collectors["pin"].secret


def reports(block: str) -> None:
    option = matter(block).posthook
    assert option.summary in KINDS and option.include_history and option.headers["X-Key"] == "none"


def models(block: str) -> None:
    book = matter(block)
    settings = choose_speech(book.option, book).llm
    assert settings is not None and settings.reasoning == "low" and settings.extra == {"service_tier": "priority"}
    assert book.llm.parallel_tool_calls is False and book.llm.repair_window_ms == 3000


CHECKS: dict[tuple[str, str], Callable[[str], None]] = {
    ("Actions of the agent", "markdown"): actions,
    ("HTTP tools", "markdown"): http_tools,
    ("While a tool runs", "yaml"): while_a_tool_runs,
    ("Models without tool calls", "json"): in_text,
    ("Python functions", "python"): python,
    ("MCP servers", "toml"): mcp_config,
    ("MCP servers", "yaml"): mcp_playbook,
    ("Knowledge", "yaml"): knowledge,
    ("Collecting numbers", "markdown"): collecting,
    ("Reports", "yaml"): reports,
    ("Models", "yaml"): models,
}


@pytest.mark.parametrize(("title", "kind", "block"), BLOCKS, ids=[f"{title} {kind}" for title, kind, _ in BLOCKS])
def test_example_runs(title: str, kind: str, block: str) -> None:
    CHECKS[title, kind](block)


def test_every_check_has_its_example() -> None:
    assert {(title, kind) for title, kind, _ in BLOCKS} == set(CHECKS)
