"""Pairs tool calls and results as strict APIs require: each result directly after its call, none without the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from active_call.providers.chat import ChatMessage


def with_paired_calls(messages: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
    """`messages` with each tool result moved directly after its call.

    A call without a result is left out; a result without its call becomes user text. Of two results of a call the first is used.
    """
    listed = tuple(messages)
    asked = {call.id for message in listed for call in message.tool_calls}
    results = {message.tool_call_id: message for message in reversed(listed) if message.role == "tool"}
    paired: list[ChatMessage] = []
    for message in listed:
        if message.role == "tool":
            if message.tool_call_id not in asked:
                paired.append(ChatMessage("user", f"[A tool answered: {message.content}]"))
        elif message.tool_calls:
            calls = tuple(call for call in message.tool_calls if call.id in results)
            paired += [replace(message, tool_calls=calls), *(results[call.id] for call in calls)]
        else:
            paired.append(message)
    return tuple(paired)
