"""A request as OpenAI's chat completions API takes it: messages, tools, tool choice and response format. Pure."""

from __future__ import annotations

from typing import Any

from active_call.providers.chat import ChatMessage, ReplyRequest, ToolDefinition

_TOOL_CHOICES = ("auto", "none", "required")


def fields_of(request: ReplyRequest) -> dict[str, Any]:
    """The fields of the request's body that follow from what is asked."""
    fields: dict[str, Any] = {"messages": [_message(message) for message in request.messages]}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice in _TOOL_CHOICES:
            fields["tool_choice"] = request.tool_choice
        elif request.tool_choice is not None:
            fields["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
    if request.json:
        fields["response_format"] = {"type": "json_object"}
    return fields


def _message(message: ChatMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        fields["content"] = message.content or None
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}
