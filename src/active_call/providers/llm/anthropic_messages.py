"""A request in the form of Anthropic's Messages API, and the events that it returns. Pure.

Source: platform.claude.com/docs, "Messages" and "Streaming messages". Differences from OpenAI's API: the system prompt is a field of its
own; the first message is the user's; the roles alternate; a tool's result is a block of a user's message, directly after the call; text
blocks are never empty; `max_tokens` must be given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.providers.chat import (
    ChatEvent,
    ChatMessage,
    Finished,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    Usage,
)
from active_call.providers.json_values import count_in, mapping_in
from active_call.providers.llm.model_profiles import ModelProfile
from active_call.providers.llm.openai_messages import messages_for
from active_call.providers.llm.paired_calls import with_paired_calls
from active_call.providers.vendor_values import text_of

Json = dict[str, Any]

DEFAULT_MAX_TOKENS: Final = 1024
"""The API requires a limit. This is far more than an agent says in one turn."""
JSON_WISH: Final = "Answer with one JSON object and with nothing else."
_PROFILE: Final = ModelProfile("anthropic messages")
_CALL_BEGINS: Final = "[The call begins.]"
_GO_ON: Final = "[Go on.]"
_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_RETRYABLE: Final = ("overloaded_error", "api_error", "rate_limit_error", "timeout_error")


def body_of(request: ReplyRequest) -> Json:
    """The body's fields for the request. The instructions are marked for the vendor's prompt cache, which shortens the wait for the first
    token of every later turn. Instructions below the cache's minimum length are not cached.
    """
    messages = with_paired_calls(messages_for(_PROFILE, request.messages))
    system = "\n\n".join(message.content for message in messages if message.role == "system" and message.content.strip())
    if request.json:
        system = f"{system}\n\n{JSON_WISH}".strip()
    body: Json = {"messages": _turns(message for message in messages if message.role != "system")}
    if system:
        body["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if (choice := _tool_choice(request)) is not None:
            body["tool_choice"] = choice
    return body


def _turns(messages: Iterable[ChatMessage]) -> list[Json]:
    """The messages as turns of alternating roles. The first and last are the user's."""
    turns: list[Json] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [_text(_CALL_BEGINS)]})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[-1]["role"] == "assistant":
        turns.append({"role": "user", "content": [_text(_GO_ON)]})
    return turns


def _blocks(message: ChatMessage) -> list[Json]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content or "(nothing)"}]
    text = [_text(message.content.strip())] if message.content.strip() else []
    return [*text, *({"type": "tool_use", "id": call.id, "name": call.name, "input": _arguments(call)} for call in message.tool_calls)]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _arguments(call: ToolCall) -> Json:
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _tool(tool: ToolDefinition) -> Json:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": dict(tool.parameters) or {"type": "object", "properties": {}},
    }


def _tool_choice(request: ReplyRequest) -> Json | None:
    one_only = {"disable_parallel_tool_use": True} if request.parallel_tool_calls is False else {}
    match request.tool_choice:
        case None:
            return {"type": "auto", **one_only} if one_only else None
        case "none":
            return {"type": "none"}
        case "auto":
            return {"type": "auto", **one_only}
        case "required":
            return {"type": "any", **one_only}
        case name:
            return {"type": "tool", "name": name, **one_only}


class EventReader:
    """Reads the events of one reply. The usage comes in two parts, with the first and the last event; it is reported once, at the end."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._calls: dict[Any, int] = {}
        """The index of a tool-call block, to our number of the call."""
        self._input: Mapping[str, Any] = {}
        self.is_over = False

    def events_in(self, event: Mapping[str, Any]) -> list[ChatEvent]:
        """The events in one message of the API. Raises ProviderError for an error within the stream."""
        match event.get("type"):
            case "message_start":
                self._input = mapping_in(event, "message", "usage")
                return []
            case "content_block_start":
                return self._begin(event.get("index"), mapping_in(event, "content_block"))
            case "content_block_delta":
                return self._more(event.get("index"), mapping_in(event, "delta"))
            case "message_delta":
                return self._end(event)
            case "message_stop":
                self.is_over = True
                return []
            case "message":  # a server that does not stream
                return self._whole(event)
            case "error":
                error = mapping_in(event, "error")
                kind = text_of(error.get("type"))
                raise ProviderError(self._provider, f"{kind}: {text_of(error.get('message'))}", retryable=kind in _RETRYABLE)
            case _:
                return []

    def _begin(self, index: Any, block: Mapping[str, Any]) -> list[ChatEvent]:
        if block.get("type") != "tool_use":
            text = text_of(block.get("text")) if block.get("type") == "text" else ""
            return [TextDelta(text)] if text else []
        number = self._calls.setdefault(index if isinstance(index, int) else len(self._calls), len(self._calls))
        given = block.get("input")
        arguments = json.dumps(given) if isinstance(given, Mapping) and given else ""
        return [ToolCallDelta(number, arguments, text_of(block.get("id")), text_of(block.get("name")))]

    def _more(self, index: Any, delta: Mapping[str, Any]) -> list[ChatEvent]:
        match delta.get("type"):
            case "text_delta":
                text = text_of(delta.get("text"))
                return [TextDelta(text)] if text else []
            case "input_json_delta" if index in self._calls:
                arguments = text_of(delta.get("partial_json"))
                return [ToolCallDelta(self._calls[index], arguments)] if arguments else []
            case _:
                return []  # reasoning and its signature are not for the caller

    def _end(self, event: Mapping[str, Any]) -> list[ChatEvent]:
        self.is_over = True
        reason = text_of(mapping_in(event, "delta").get("stop_reason"))
        finished: list[ChatEvent] = [Finished(_REASONS.get(reason, reason))] if reason else []
        return [*finished, self._usage(mapping_in(event, "usage"))]

    def _usage(self, last: Mapping[str, Any]) -> Usage:
        """The API counts tokens read from its cache and written to it separately; here they are part of the input."""
        first = {**self._input, **{name: value for name, value in last.items() if value is not None}}
        cached = count_in(first, "cache_read_input_tokens")
        n_input = count_in(first, "input_tokens") + cached + count_in(first, "cache_creation_input_tokens")
        return Usage(n_input, count_in(first, "output_tokens"), cached)

    def _whole(self, message: Mapping[str, Any]) -> list[ChatEvent]:
        content = message.get("content")
        events: list[ChatEvent] = []
        for index, block in enumerate(content if isinstance(content, list) else []):
            events += self._begin(index, block if isinstance(block, Mapping) else {})
        return [*events, *self._end({"delta": message, "usage": mapping_in(message, "usage")})]
