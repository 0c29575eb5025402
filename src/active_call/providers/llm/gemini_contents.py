"""A request in the form of Gemini's API, and the chunks that it returns. Pure.

Source: ai.google.dev/api/generate-content and /gemini-api/docs/function-calling, /thinking, /thought-signatures. Differences from
OpenAI's API: the instructions are a field of their own; the roles are `user` and `model`; function calls come whole, sometimes without an
id; a call comes with a signature that must be sent back with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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

_PROFILE: Final = ModelProfile("gemini contents")
_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_REASONS: Final = {"STOP": "stop", "MAX_TOKENS": "length"}
_RETRYABLE: Final = (408, 429, 500, 502, 503, 504)


def body_of(request: ReplyRequest, signatures: Mapping[str, str]) -> Json:
    """The body's fields for the request. `signatures`: those of earlier calls, by call id."""
    messages = with_paired_calls(messages_for(_PROFILE, request.messages))
    system = "\n\n".join(message.content for message in messages if message.role == "system" and message.content.strip())
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    body: Json = {"contents": _contents([message for message in messages if message.role != "system"], names, signatures)}
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
        if request.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _tool_choice(request.tool_choice)}
    if request.json:
        body["generationConfig"] = {"responseMimeType": "application/json"}
    return body


def _contents(messages: Sequence[ChatMessage], names: Mapping[str, str], signatures: Mapping[str, str]) -> list[Json]:
    contents: list[Json] = []
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        parts = _parts(message, names, signatures)
        if not parts:
            continue
        if not contents and role == "model":
            contents.append({"role": "user", "parts": [{"text": "[The call begins.]"}]})
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents or [{"role": "user", "parts": [{"text": "[The call begins.]"}]}]


def _parts(message: ChatMessage, names: Mapping[str, str], signatures: Mapping[str, str]) -> list[Json]:
    if message.role == "tool":
        name = names[message.tool_call_id or ""]
        return [{"functionResponse": {"name": name, "response": {"result": message.content}}}]
    parts: list[Json] = [{"text": message.content}] if message.content.strip() else []
    return [*parts, *(_call(call, signatures) for call in message.tool_calls)]


def _call(call: ToolCall, signatures: Mapping[str, str]) -> Json:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = {}
    part: Json = {"functionCall": {"name": call.name, "args": arguments if isinstance(arguments, dict) else {}}}
    signature = signatures.get(call.id) or signatures.get(call.id.rpartition(".")[0])  # a repeated id gets a number appended
    return {**part, "thoughtSignature": signature} if signature else part


def _tool(tool: ToolDefinition) -> Json:
    declaration: Json = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        declaration["parametersJsonSchema"] = dict(tool.parameters)
    return declaration


def _tool_choice(choice: str) -> Json:
    return {"mode": _MODES[choice]} if choice in _MODES else {"mode": "ANY", "allowedFunctionNames": [choice]}


class ChunkReader:
    """Reads the chunks of one reply. `next_number` gives unique numbers to calls that come without an id."""

    def __init__(self, provider: str, next_number: Callable[[], int]) -> None:
        self._provider = provider
        self._next_number = next_number
        self.n_calls = 0
        self.signatures: dict[str, str] = {}
        """The signatures of the calls in this reply, by call id."""
        self.is_over = False

    def events_in(self, chunk: Mapping[str, Any]) -> list[ChatEvent]:
        """The events in one chunk. Raises ProviderError for an error within the stream, and for a refused prompt."""
        self._refuse(chunk)
        candidates = chunk.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else {}
        parts = mapping_in(candidate, "content").get("parts")
        events = [event for part in (parts if isinstance(parts, list) else []) for event in self._part(part)]
        if usage := mapping_in(chunk, "usageMetadata"):
            events += self._usage(usage, is_last="finishReason" in mapping_in(candidate))
        if reason := text_of(mapping_in(candidate).get("finishReason")):
            self.is_over = True
            events.append(Finished("tool_calls" if self.n_calls and reason == "STOP" else _REASONS.get(reason, reason.lower())))
        return events

    def _refuse(self, chunk: Mapping[str, Any]) -> None:
        if error := mapping_in(chunk, "error"):
            message = f"{text_of(error.get('status'))}: {text_of(error.get('message'))}"
            raise ProviderError(self._provider, message, retryable=error.get("code") in _RETRYABLE)
        if reason := text_of(mapping_in(chunk, "promptFeedback").get("blockReason")):
            raise ProviderError(self._provider, f"the question was refused: {reason}")

    def _part(self, part: Any) -> list[ChatEvent]:
        if not isinstance(part, Mapping):
            return []
        if call := mapping_in(part, "functionCall"):
            return [self._call(call, text_of(part.get("thoughtSignature")))]
        text = "" if part.get("thought") is True else text_of(part.get("text"))
        return [TextDelta(text)] if text else []

    def _call(self, call: Mapping[str, Any], signature: str) -> ToolCallDelta:
        number = self.n_calls
        self.n_calls += 1
        call_id = text_of(call.get("id")) or f"call_{self._next_number()}"
        if signature:
            self.signatures[call_id] = signature
        arguments = call.get("args")
        return ToolCallDelta(number, json.dumps(arguments if isinstance(arguments, Mapping) else {}), call_id, text_of(call.get("name")))

    def _usage(self, usage: Mapping[str, Any], *, is_last: bool) -> list[ChatEvent]:
        """Each chunk has running totals; the last ones count. Reasoning tokens, which the API counts separately, are part of the output
        here.
        """
        if not is_last:
            return []
        thoughts = count_in(usage, "thoughtsTokenCount")
        n_output = count_in(usage, "candidatesTokenCount") + thoughts
        return [Usage(count_in(usage, "promptTokenCount"), n_output, count_in(usage, "cachedContentTokenCount"), thoughts)]
