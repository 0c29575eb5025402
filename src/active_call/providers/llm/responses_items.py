"""A request in the form of OpenAI's Responses API, and the events that it returns. Pure.

Source: platform.openai.com/docs/api-reference/responses and /responses-streaming. Differences from chat completions: the conversation is a
list of items, in which a tool call and its result are two items; the end of the reply carries its usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.providers.chat import (
    ChatEvent,
    ChatMessage,
    Finished,
    ReplyRequest,
    TextDelta,
    ToolCallDelta,
    ToolDefinition,
    Usage,
)
from active_call.providers.json_values import count_in, mapping_in
from active_call.providers.llm.paired_calls import with_paired_calls
from active_call.providers.vendor_values import text_of

Json = dict[str, Any]

_TOOL_CHOICES: Final = ("auto", "none", "required")
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
_RETRYABLE: Final = ("server_error", "rate_limit_exceeded", "vector_store_timeout")


def body_of(request: ReplyRequest) -> Json:
    """The body's fields for the request."""
    body: Json = {"input": [item for message in with_paired_calls(request.messages) for item in _items(message)]}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice in _TOOL_CHOICES:
            body["tool_choice"] = request.tool_choice
        elif request.tool_choice is not None:
            body["tool_choice"] = {"type": "function", "name": request.tool_choice}
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.json:
        body["text"] = {"format": {"type": "json_object"}}
    return body


def _items(message: ChatMessage) -> list[Json]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id or "", "output": message.content}]
    items: list[Json] = [{"role": message.role, "content": message.content}] if message.content else []
    calls = [{"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return [*items, *calls]


def _tool(tool: ToolDefinition) -> Json:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": parameters, "strict": False}


class EventReader:
    """Reads the events of one reply."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._calls: dict[Any, int] = {}
        """The index of a tool-call item, to our number of the call."""
        self.is_over = False

    def events_in(self, event: Mapping[str, Any]) -> list[ChatEvent]:
        """The events in one message of the API. Raises ProviderError for a failed reply."""
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                text = text_of(event.get("delta"))
                return [TextDelta(text)] if text else []
            case "response.output_item.added":
                return self._item(event.get("output_index"), mapping_in(event, "item"))
            case "response.function_call_arguments.delta":
                number, arguments = self._calls.get(event.get("output_index")), text_of(event.get("delta"))
                return [ToolCallDelta(number, arguments)] if number is not None and arguments else []
            case "response.completed" | "response.incomplete":
                return self._end(mapping_in(event, "response"))
            case "response.failed":
                raise self._error(mapping_in(event, "response", "error"))
            case "error":
                raise self._error(mapping_in(event, "error") or event)
            case _:
                return self._whole(event) if event.get("object") == "response" else []

    def _item(self, index: Any, item: Mapping[str, Any]) -> list[ChatEvent]:
        if item.get("type") != "function_call":
            return []
        number = self._calls.setdefault(index if isinstance(index, int) else len(self._calls), len(self._calls))
        return [ToolCallDelta(number, text_of(item.get("arguments")), text_of(item.get("call_id")), text_of(item.get("name")))]

    def _end(self, response: Mapping[str, Any]) -> list[ChatEvent]:
        self.is_over = True
        reason = text_of(mapping_in(response, "incomplete_details").get("reason"))
        usage = mapping_in(response, "usage")
        finished = Finished(_REASONS.get(reason, reason) if reason else "tool_calls" if self._calls else "stop")
        cached = count_in(mapping_in(usage, "input_tokens_details"), "cached_tokens")
        reasoning = count_in(mapping_in(usage, "output_tokens_details"), "reasoning_tokens")
        return [finished, Usage(count_in(usage, "input_tokens"), count_in(usage, "output_tokens"), cached, reasoning)]

    def _whole(self, response: Mapping[str, Any]) -> list[ChatEvent]:
        """The events of a whole reply, from a server that does not stream."""
        if response.get("status") == "failed":
            raise self._error(mapping_in(response, "error"))
        events: list[ChatEvent] = []
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else []):
            if mapping_in(item).get("type") == "message" and (text := text_of(mapping_in(item).get("content"))):
                events.append(TextDelta(text))
            events += self._item(index, mapping_in(item))
        return [*events, *self._end(response)]

    def _error(self, error: Mapping[str, Any]) -> ProviderError:
        code = text_of(error.get("code")) or text_of(error.get("type"))
        return ProviderError(self._provider, f"{code or 'failed'}: {text_of(error.get('message'))}", retryable=code in _RETRYABLE)
