"""An agent looks things up: as a tool of its model, as context for a model without tools; and tools called in text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from calls_kit import Always, a_call
from msgspec.structs import force_setattr

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import PlaybookError
from active_call.call.conversation.web_requests import WebRequests
from active_call.call.opening.routing import Accepted, Playbooks
from active_call.contract import events
from active_call.providers.chat import ChatModelCapabilities, TextDelta, ToolCallDelta
from active_call.store.knowledge.library import KnowledgeLibrary

BOOK = "---\nllm: {provider: model}\ngreeting: Hello.\nknowledge: {folder: docs, mode: tool}\n---\nHelp.\n"


class CallingModel:
    """Searches first, then says what it was told."""

    name = "calling"
    capabilities = ChatModelCapabilities(tools=True)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def reply(self, request: Any) -> Any:
        self.asked.append(request)
        if request.messages[-1].role == "tool":
            yield TextDelta(f"It says: {request.messages[-1].content.splitlines()[-1]}")
        else:
            yield ToolCallDelta(0, '{"query": "opening hours"}', "c1", "search_knowledge")

    async def close(self) -> None:
        pass


def book_in(folder: Path, text: str) -> Any:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "hours.md").write_text("# Opening hours\nWe are open from nine to six.\n")
    return parse_playbook(text, file=str(folder / "own.md"), environment={})


def a_knowing_call(folder: Path, text: str = BOOK) -> Any:
    book = book_in(folder, text)
    return a_call(None, router=Always(lambda _: Accepted(book)))


def with_library(call: Any) -> None:
    force_setattr(call.dependencies, "knowledge", KnowledgeLibrary(call.dependencies.world.clock))


def test_model_searches_and_speaks_about_what_it_finds(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_knowing_call(tmp_path) as call:
            with_library(call)
            call.engines.model = CallingModel()
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("when are you open")
            await call.until(lambda: any("nine to six" in text for text in call.spoken))
            assert [tool.name for tool in call.engines.model.asked[0].tools] == ["search_knowledge"]

    virtually(story())


def test_model_without_tools_gets_the_passages_with_the_callers_words(virtually: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with a_knowing_call(tmp_path) as call:
            with_library(call)
            call.engines.model.will_say = ["From nine to six."]
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("what are your opening hours")
            await call.until(lambda: "From nine to six." in call.spoken)
            messages = call.engines.model.asked[0].messages
            assert messages[-1].role == "user" and messages[-2].content.startswith(
                "[From the documents, where it helps:\nOpening hours (hours.md)"
            )

    virtually(story())


def test_text_that_came_over_http_names_no_folder() -> None:
    with pytest.raises(PlaybookError, match="not a text that came over HTTP"):
        Playbooks(lambda name: None, {}).parse("---\nknowledge: /etc\n---\nHi.\n")  # type: ignore[arg-type,return-value]


def test_tool_is_called_in_text_by_a_model_without_tool_calls(virtually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    book = (
        "---\nllm: {provider: model}\ngreeting: Hello.\ntools:\n  order_status:\n    description: Where an order is.\n"
        "    parameters: {order: Its number.}\n    url: https://shop.example/{{ order }}\n---\nHelp.\n"
    )
    asked: list[str] = []

    async def request(self: Any, method: str, url: str, **_: Any) -> httpx.Response:
        asked.append(url)
        return httpx.Response(200, text="on its way")

    monkeypatch.setattr(WebRequests, "request", request)

    async def story() -> None:
        async with a_call(book) as call:
            call.engines.model.will_say = [
                '{"text": "One moment.", "tools": [{"name": "order_status", "order": "7"}, {"name": "order_status"}, {"name": "cook"}]}',
                "It is on its way.",
            ]
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("where is order seven")
            await call.until(lambda: "It is on its way." in call.spoken)
            assert call.spoken[1:] == ["One moment.", "It is on its way."] and asked == ["https://shop.example/7"]
            first, second = call.engines.model.asked
            assert "- order_status: Where an order is." in first.messages[0].content and not first.tools
            told = [message.content for message in second.messages if message.role == "system"][1:]
            assert "[Result of order_status: on its way]" in told and "[Error of order_status: missing: order]" in told
            assert any("there is no tool 'cook'" in text for text in told)

    virtually(story())
