"""Reads a chunk of OpenAI's chat completions API: text, tool calls, usage, the finish reason.

A chunk enters as parsed JSON, or a whole answer that is not streamed; events leave. Servers that speak this API send other types than
OpenAI does, so every value is checked. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from active_call.base.errors import ProviderError
from active_call.providers.chat import ChatEvent, Finished, TextDelta, ToolCallDelta, Usage
from active_call.providers.http import EXCERPT_CHARS, RETRYABLE_STATUS
from active_call.providers.vendor_values import text_of


class ChunkReader:
    """Reads the chunks of one reply. It numbers the tool calls, because some servers give all calls the same index, or none."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[int, str]] = {}
        """The server's index of a call, to our number and the call's id."""
        self._n_calls = 0
        self.is_empty = True
        """There was neither text, nor a tool call, nor a finish reason."""
        self.extras: dict[str, Mapping[str, Any]] = {}
        """Data that a server expects back with a call, by call id (`extra_content`: Gemini's signatures)."""

    def events_in(self, chunk: Any) -> list[ChatEvent]:
        """The events of one chunk, in order; none for a chunk without content (reasoning, a keep-alive)."""
        first = next(iter(_list(_field(chunk, "choices"))), None)
        delta, message = _field(first, "delta"), _field(first, "message")
        events: list[ChatEvent] = []
        if text := text_of(_field(delta, "content") or _field(message, "content")):
            events.append(TextDelta(text))
        calls = _list(_field(delta, "tool_calls")) or _list(_field(message, "tool_calls"))
        events += [event for position, call in enumerate(calls) if (event := self._tool_call(call, position)) is not None]
        if reason := text_of(_field(first, "finish_reason")):
            events.append(Finished(reason))
        if events:
            self.is_empty = False
        if (usage := _usage(_field(chunk, "usage"))) is not None:
            events.append(usage)
        return events

    def _tool_call(self, call: Any, position: int) -> ToolCallDelta | None:
        """One delta. Some servers send whole calls in one chunk, and arguments as an object."""
        function = _field(call, "function")
        arguments = _field(function, "arguments")
        call_id, name = text_of(_field(call, "id")), text_of(_field(function, "name"))
        text = json.dumps(arguments) if isinstance(arguments, Mapping) else text_of(arguments)
        if not (text or call_id or name):
            return None
        index = _field(call, "index")
        extra = _field(call, "extra_content")
        if call_id and isinstance(extra, Mapping):
            self.extras[call_id] = extra
        is_known = isinstance(index, int) and not isinstance(index, bool)
        return ToolCallDelta(self._number(index if is_known else position, call_id, name), text, call_id, name)

    def _number(self, index: int, call_id: str, name: str) -> int:
        known = self._calls.get(index)
        if known is None or (name and call_id and call_id != known[1]):
            known = self._calls[index] = (self._n_calls, call_id)
            self._n_calls += 1
        return known[0]


def raise_error_in(provider: str, chunk: Mapping[str, Any]) -> None:
    """Raise the ProviderError of an error that comes in place of a chunk, after status 200."""
    error = chunk.get("error")
    if not error:
        return
    kind, code = _field(error, "type"), _field(error, "code")
    message = text_of(_field(error, "message")) or text_of(error) or "an error without a reason"
    is_passing = kind == "server_error" or code == "rate_limit_exceeded" or (isinstance(code, int) and code in RETRYABLE_STATUS)
    raise ProviderError(provider, " ".join(message.split())[:EXCERPT_CHARS], retryable=is_passing)


def _usage(usage: Any) -> Usage | None:
    if usage is None:
        return None
    cached = _field(_field(usage, "prompt_tokens_details"), "cached_tokens")
    reasoning = _field(_field(usage, "completion_tokens_details"), "reasoning_tokens")
    counted = [_count(value) for value in (_field(usage, "prompt_tokens"), _field(usage, "completion_tokens"), cached, reasoning)]
    return Usage(*counted) if any(counted) else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
