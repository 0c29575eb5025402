"""A simulator of OpenAI's Responses API, streamed. Source: platform.openai.com/docs/api-reference/responses and /responses-streaming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

from active_call.testing.vendors.chat.chat_vendor import ChatVendor, Json, ScriptedCall, ScriptedReply, Unusual, need, only_known
from active_call.testing.vendors.wire.server import Request

_FIELDS = frozenset(
    {
        "model", "input", "instructions", "stream", "store", "tools", "tool_choice", "parallel_tool_calls", "text", "temperature", "top_p",
        "max_output_tokens", "reasoning", "include", "metadata", "service_tier", "previous_response_id", "truncation", "prompt_cache_key",
    }
)  # fmt: skip


class ResponsesServer(ChatVendor):
    """The Responses API of a model without reasoning, or (`thinks`) of one with reasoning, which refuses a temperature."""

    path = "/v1/responses"

    def __init__(self, *, thinks: bool = False) -> None:
        super().__init__()
        self._thinks = thinks
        self._numbers = count(1)

    def check(self, request: Request, body: Json) -> None:
        if request.path != self.path:
            raise Unusual("not found", 404)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise Unusual("Incorrect API key provided", 401)
        only_known(body, _FIELDS, "body")
        need(not (self._thinks and "temperature" in body), "Unsupported parameter: 'temperature' is not supported with this model.")
        need(self._thinks or "reasoning" not in body, "Unsupported parameter: 'reasoning.effort' is not supported with this model.")
        need(body.get("max_output_tokens", 16) >= 16, "Invalid 'max_output_tokens': integer below minimum value. Expected >= 16")
        for tool in body.get("tools", []):
            only_known(tool, {"type", "name", "description", "parameters", "strict"}, "tools")
            need(tool.get("type") == "function" and tool.get("name"), "Missing required parameter: 'tools[0].name'.")
        given = body.get("input") or []
        _check_items([{"role": "user", "content": given}] if isinstance(given, str) else given)

    def events(self, reply: ScriptedReply, body: Json) -> Iterator[tuple[str, Json]]:
        for number, data in enumerate(self._events(reply)):
            yield data["type"], {**data, "sequence_number": number}

    def _events(self, reply: ScriptedReply) -> Iterator[Json]:
        response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o-mini", "output": []}
        yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
        reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": reasoning}
        yield {"type": "response.output_item.done", "output_index": 0, "item": reasoning}
        done = [reasoning]
        items = [self._spoken(reply), *(self._called(index, call) for index, call in enumerate(reply.calls, 2))]
        for events in items:
            for event in events:
                yield event
                if event["type"] == "response.output_item.done":
                    done.append(event["item"])
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens": 15,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 115,
        }
        ended = "incomplete" if reply.reason else "completed"
        details = {"incomplete_details": {"reason": reply.reason}} if reply.reason else {}
        yield {"type": f"response.{ended}", "response": {**response, "output": done, "status": ended, "usage": usage, **details}}

    def _spoken(self, reply: ScriptedReply) -> Iterator[Json]:
        """The events of the message."""
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        said = {**part, "text": "".join(reply.pieces)}
        yield {"type": "response.output_item.added", "output_index": 1, "item": item}
        yield {"type": "response.content_part.added", **place, "part": part}
        for piece in reply.pieces:
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **place, "text": said["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **place, "part": said}
        yield {"type": "response.output_item.done", "output_index": 1, "item": {**item, "status": "completed", "content": [said]}}

    def _called(self, index: int, call: ScriptedCall) -> Iterator[Json]:
        """The events of a tool call."""
        called = f"call_{next(self._numbers)}"
        item = {"type": "function_call", "id": f"fc_{index}", "call_id": called, "name": call.name, "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        text = json.dumps(call.arguments)
        for part in (text[:3], text[3:]):
            yield {"type": "response.function_call_arguments.delta", "item_id": item["id"], "output_index": index, "delta": part}
        yield {"type": "response.function_call_arguments.done", "item_id": item["id"], "output_index": index, "arguments": text}
        yield {"type": "response.output_item.done", "output_index": index, "item": {**item, "arguments": text}}

    def error(self, status: int, message: str) -> Json:
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}

    def error_event(self) -> tuple[str, Json]:
        failure = {"code": "server_error", "message": "The server had an error."}
        return "response.failed", {"type": "response.failed", "response": {"object": "response", "status": "failed", "error": failure}}


def _check_items(items: list[Json]) -> None:
    need(items, "Missing required parameter: 'input'.")
    open_calls: set[str] = set()
    for item in items:
        match item.get("type", "message"):
            case "message":
                need(item.get("role") in ("user", "assistant", "system", "developer"), "Invalid value for 'role'")
            case "function_call":
                only_known(item, {"type", "call_id", "name", "arguments", "id", "status"}, "input")
                json.loads(item["arguments"])
                open_calls.add(item["call_id"])
            case "function_call_output":
                need(item["call_id"] in open_calls, f"No tool call found for function call output with call_id {item['call_id']}.")
                open_calls.discard(item["call_id"])
            case other:
                raise Unusual(f"Invalid value: {other!r}")
    need(not open_calls, f"No tool output found for function call {', '.join(open_calls)}.")
