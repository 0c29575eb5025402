"""A request in the form of OpenAI's chat completions API: messages, tools, tool choice and response format. Pure.

The profile says what a server does not accept. Then a system message in mid-conversation becomes a user message in square brackets, and
consecutive messages of one side are joined where roles must alternate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_call.providers.chat import ChatMessage, ReplyRequest, ToolCall, ToolDefinition
from active_call.providers.llm.model_profiles import AS_USER, UNKNOWN, ModelProfile

_TOOL_CHOICES = ("auto", "none", "required")


def fields_of(
    request: ReplyRequest, profile: ModelProfile = UNKNOWN, extras: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The body's fields for the request, according to `profile`. `extras`: data that the server expects back with its tool calls, by call
    id.
    """
    fields: dict[str, Any] = {"messages": [_message(message, extras or {}) for message in messages_for(profile, request.messages)]}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
        if profile.takes_parallel_tool_calls and request.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = request.parallel_tool_calls
        if request.tool_choice in _TOOL_CHOICES:
            fields["tool_choice"] = request.tool_choice
        elif request.tool_choice is not None:
            fields["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
        if not profile.takes_tool_choice:
            fields.pop("tool_choice", None)
    if request.json:
        fields["response_format"] = {"type": "json_object"}
    return fields


def messages_for(profile: ModelProfile, messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    """`messages` in roles and in an order that the server accepts."""
    if profile.late_system == AS_USER or profile.must_alternate:
        messages = _without_late_system(messages)
    return _alternating(messages) if profile.must_alternate else messages


def _without_late_system(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    """System messages at the beginning are joined; later ones become user messages."""
    n_first = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    system = "\n\n".join(message.content for message in messages[:n_first])
    first = (ChatMessage("system", system),) if n_first else ()
    last = (ChatMessage("user", "[Go on.]"),) if n_first < len(messages) and _is_agents_text(messages[-1]) else ()
    return (*first, *(_as_user(message) for message in messages[n_first:]), *last)


def _is_agents_text(message: ChatMessage) -> bool:
    """Whether the agent's text comes last. The conversation must not end with it: some servers refuse that, others continue the text."""
    return message.role == "assistant" and not message.tool_calls


def _as_user(message: ChatMessage) -> ChatMessage:
    if message.role != "system":
        return message
    text = message.content
    return ChatMessage("user", text if text.startswith("[") and text.endswith("]") else f"[{text}]")


def _alternating(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    """Consecutive texts of one side are joined. A conversation that the agent begins gets a first user message."""
    joined: list[ChatMessage] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is not None and last.role == message.role and message.role in ("user", "assistant") and not last.tool_calls:
            joined[-1] = ChatMessage(last.role, _lines(last.content, message.content), message.tool_calls)
        else:
            if message.role == "assistant" and (last is None or last.role == "system"):
                joined.append(ChatMessage("user", "[The call begins.]"))
            joined.append(message)
    return tuple(joined)


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def _message(message: ChatMessage, extras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        fields["content"] = message.content or None
        fields["tool_calls"] = [_call(call, extras) for call in message.tool_calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _call(call: ToolCall, extras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    written: dict[str, Any] = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    extra = extras.get(call.id) or extras.get(call.id.rpartition(".")[0])  # a repeated id gets a number appended
    return {**written, "extra_content": extra} if extra else written


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}
