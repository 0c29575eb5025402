"""What a provider is asked, and what the conversation gets of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from active_call.agent import effects
from active_call.agent.items import Prompt, ToolCallItem
from active_call.agent.tools.registry import ToolSchema
from active_call.call.conversation.model_request import inputs_of, request_of
from active_call.providers.base import ChatMessage, TextDelta, ToolCallDelta, ToolDefinition, Usage
from active_call.providers.chat import ChatModelCapabilities, Finished, ReplyRequest, ToolCall

REPLY = effects.ReplyNumber(7)


class Model:
    """A model that writes what it is told to."""

    name = "scripted"
    capabilities = ChatModelCapabilities(tools=True)

    def __init__(self, *events: Any) -> None:
        self.events = events
        self.is_closed = False

    def reply(self, request: ReplyRequest) -> Any:
        return self._write()

    async def _write(self) -> AsyncIterator[Any]:
        try:
            for event in self.events:
                yield event
        finally:
            self.is_closed = True

    async def close(self) -> None: ...


def inputs(*events: Any) -> list[Any]:
    async def go() -> list[Any]:
        return [item async for item in inputs_of(Model(*events), ReplyRequest(()), REPLY)]

    return asyncio.run(go())


def test_request_carries_messages_tool_calls_results_and_schemas():
    call = ToolCallItem("c1", "book", {"day": "Monday"})
    effect = effects.AskModel(
        REPLY,
        (Prompt("user", "Monday"), Prompt("assistant", "", (call,)), Prompt("tool", "done", tool_call_id="c1")),
        "shop",
        0.2,
        50,
        (ToolSchema("book", "Book.", {"type": "object"}),),
    )
    assert request_of(effect) == ReplyRequest(
        (
            ChatMessage("user", "Monday"),
            ChatMessage("assistant", "", (ToolCall("c1", "book", '{"day":"Monday"}'),)),
            ChatMessage("tool", "done", tool_call_id="c1"),
        ),
        scene="shop",
        temperature=0.2,
        max_tokens=50,
        tools=(ToolDefinition("book", "Book.", {"type": "object"}),),
    )


def test_text_comes_at_once_and_tool_calls_when_they_are_complete():
    found = inputs(
        TextDelta("One "),
        ToolCallDelta(0, '{"day"', "c1", "book"),
        ToolCallDelta(1, "{}", "c2", "hours"),
        ToolCallDelta(0, ': "Monday"}'),
        TextDelta("moment."),
        Finished("tool_calls"),
        Usage(10, 5),
    )
    assert found == [
        effects.ModelText(REPLY, "One "),
        effects.ModelText(REPLY, "moment."),
        effects.ToolCall(REPLY, "c1", "book", '{"day": "Monday"}'),
        effects.ToolCall(REPLY, "c2", "hours", "{}"),
    ]


def test_abandoned_reply_closes_the_providers_stream():
    async def go() -> bool:
        model = Model(TextDelta("a"), TextDelta("b"))
        generator = inputs_of(model, ReplyRequest(()), REPLY)
        await anext(generator)
        await generator.aclose()
        return model.is_closed

    assert asyncio.run(go())
