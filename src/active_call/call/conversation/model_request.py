"""Converts the conversation's requests into requests to a provider, and the provider's events into inputs of the conversation.

An AskModel effect and a provider's event stream enter; a provider's request leaves, and inputs of the conversation (text as it comes, tool
calls when all of them are complete).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec.structs import replace

from active_call.agent import effects
from active_call.agent.control_tokens import without_control_tokens
from active_call.agent.items import Prompt, ToolCallItem
from active_call.agent.reply.reasoning import without_reasoning
from active_call.call.conversation.reply_reading import ReplyReading
from active_call.providers.base import ChatMessage, ChatModel, ReplyRequest, TextDelta, ToolCallDelta, ToolDefinition, text_of_reply
from active_call.providers.chat import ToolCall, tool_calls_in

SUMMARY_S: Final = 25.0
SUMMARY_TOKENS: Final = 600


def request_of(effect: effects.AskModel) -> ReplyRequest:
    """The provider's request for `effect`."""
    return ReplyRequest(
        tuple(_message(prompt) for prompt in effect.prompts),
        scene=effect.scene,
        temperature=effect.temperature,
        max_tokens=effect.max_tokens,
        parallel_tool_calls=effect.parallel_tool_calls if effect.tools else None,
        tools=tuple(ToolDefinition(schema.name, schema.description, schema.parameters) for schema in effect.tools),
    )


async def inputs_of(
    model: ChatModel, request: ReplyRequest, reply: effects.ReplyNumber, reading: ReplyReading | None = None
) -> AsyncGenerator[effects.ModelText | effects.ToolCall, None]:
    """The reply as inputs of the conversation. Closing the generator cancels the rest. `reading` learns of tool calls. Raises
    ProviderError.
    """
    deltas: list[ToolCallDelta] = []
    """The tool calls in progress."""
    stream = model.reply(request)
    try:
        async for event in stream:
            match event:
                case TextDelta(text):
                    yield effects.ModelText(reply, text)
                case ToolCallDelta():
                    if reading is not None:
                        reading.note_tool_call()
                    if deltas and deltas[-1].index != event.index and _is_whole(deltas):  # the next call begins: this one is complete
                        for call in tool_calls_in(deltas):
                            yield effects.ToolCall(reply, call.id, call.name, call.arguments)
                        deltas = []
                    deltas.append(event)
                case _:
                    pass  # usage, and the finish reason
        for call in tool_calls_in(deltas):
            yield effects.ToolCall(reply, call.id, call.name, call.arguments)
    finally:
        await stream.aclose()


def with_context(request: ReplyRequest, text: str) -> ReplyRequest:
    """`request` with passages before the caller's last words; unchanged if there are none."""
    if not text:
        return request
    messages = list(request.messages)
    place = next((index for index in range(len(messages) - 1, -1, -1) if messages[index].role == "user"), len(messages))
    messages.insert(place, ChatMessage("system", f"[From the documents, where it helps:\n{without_control_tokens(text)}]"))
    return replace(request, messages=tuple(messages))


async def summary_of(model: ChatModel, text: str, instruction: str, *, json: bool = False) -> str:
    """The model's answer to `text`, without its reasoning. Raises ProviderError, TimeoutError."""
    messages = (ChatMessage("system", instruction), ChatMessage("user", text))
    request = ReplyRequest(messages, scene="summary", max_tokens=SUMMARY_TOKENS, json=json and model.capabilities.json)
    async with asyncio.timeout(SUMMARY_S), aclosing(text_of_reply(model, request)) as pieces:
        parts = [piece async for piece in pieces]
    return without_reasoning("".join(parts)).strip()


def _is_whole(deltas: list[ToolCallDelta]) -> bool:
    """Whether this is a single call whose arguments are a complete JSON object."""
    if any(delta.index != deltas[0].index for delta in deltas):
        return False
    try:
        return isinstance(msgspec.json.decode("".join(delta.arguments for delta in deltas)), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _message(prompt: Prompt) -> ChatMessage:
    calls = tuple(_tool_call(call) for call in prompt.tool_calls)
    return ChatMessage(prompt.role, prompt.text, calls, prompt.tool_call_id or None)


def _tool_call(call: ToolCallItem) -> ToolCall:
    return ToolCall(call.id, call.name, msgspec.json.encode(call.arguments).decode())
