"""A simulator of Anthropic's Messages API, streamed, in both of its versions.

Source: platform.claude.com/docs, "Messages", "Streaming messages", "Tool use", "Versions", "Migrating to API version 2026-10-21".
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from active_call.testing.vendors.chat.chat_vendor import ChatVendor, Json, ScriptedReply, Unusual, need, only_known
from active_call.testing.vendors.wire.server import Request

_FIELDS = frozenset(
    {
        "model", "max_tokens", "messages", "system", "stream", "temperature", "tools", "tool_choice", "stop_sequences", "top_p", "top_k",
        "metadata", "thinking", "output_config", "service_tier", "cache_control",
    }
)  # fmt: skip
_VERSIONS = ("2023-06-01", "2026-10-21")
_SAMPLING = ("temperature", "top_p", "top_k")
_WITHOUT_SAMPLING = re.compile(r"claude-(opus-4-[7-9]|[a-z]+-[5-9])")
"""Models that refuse these fields in each version."""
_ERRORS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}


class AnthropicServer(ChatVendor):
    """The Messages API."""

    path = "/v1/messages"

    def check(self, request: Request, body: Json) -> None:
        if request.path != self.path:
            raise Unusual("not found", 404)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if (request.headers.get("x-api-key") or bearer) != self.key:
            raise Unusual("invalid x-api-key", 401)
        version = request.headers.get("anthropic-version", "")
        need(version, "anthropic-version: header is required")
        need(version in _VERSIONS, f"anthropic-version: {version} is not a valid version")
        only_known(body, _FIELDS, "body")
        for name in _SAMPLING:
            need(name not in body or version != _VERSIONS[-1], f"{name}: Extra inputs are not permitted")
            need(name not in body or not _WITHOUT_SAMPLING.match(str(body.get("model"))), f"`{name}` is deprecated for this model.")
        need(isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens: field required")
        need(body.get("stream") is True, "this simulator streams")
        need(0 <= body.get("temperature", 1) <= 1, "temperature: range: 0..1")
        for block in blocks_of(body.get("system", [])):
            need(block.get("type") == "text" and block.get("text"), "system: text content blocks must be non-empty")
        for tool in body.get("tools", []):
            only_known(tool, {"name", "description", "input_schema"}, "tools")
            need(tool["input_schema"].get("type") == "object", "tools.input_schema.type: field required")
        _check_turns(body.get("messages") or [])

    def events(self, reply: ScriptedReply, body: Json) -> Iterator[tuple[str, Json]]:
        for data in _events(reply, body):
            yield data["type"], data

    def error(self, status: int, message: str) -> Json:
        return {"type": "error", "error": {"type": _ERRORS.get(status, "invalid_request_error"), "message": message}}

    def error_event(self) -> tuple[str, Json]:
        return "error", self.error(529, "Overloaded")


def blocks_of(content: str | list[Json]) -> list[Json]:
    """Content as blocks: a plain text is one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_turns(turns: list[Json]) -> None:
    need(turns, "messages: at least one message is required")
    need(turns[0]["role"] == "user", "messages: first message must use the user role")
    need(turns[-1]["role"] == "user", "messages: this model does not support prefilling the assistant's message")
    open_calls: set[str] = set()
    for one, following in itertools.pairwise(turns):
        need(one["role"] != following["role"], "messages: roles must alternate")
    for turn in turns:
        blocks = blocks_of(turn["content"])
        need(blocks, "messages: all messages must have non-empty content")
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        need(results == open_calls, "messages: each tool_use block must have a tool_result block in the next message, and none without it")
        kinds = [block["type"] for block in blocks]
        need(turn["role"] == "user" or "document" not in kinds, "messages: document blocks are not allowed in assistant messages")
        need(not results or kinds[: len(results)] == ["tool_result"] * len(results), "messages: tool_result blocks come first")
        need(all(block["text"].strip() for block in blocks if block["type"] == "text"), "messages: text content blocks must be non-empty")
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        need(all(isinstance(block["input"], dict) for block in blocks if block["type"] == "tool_use"), "tool_use.input: a dictionary")


def _events(reply: ScriptedReply, body: Json) -> Iterator[Json]:
    usage: dict[str, Any] = {"input_tokens": 20, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 0, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", ""), "content": []}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    yield {"type": "ping"}
    index = 0
    if reply.pieces:
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for piece in reply.pieces:
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        yield {"type": "content_block_stop", "index": 0}
        index = 1
    for number, call in enumerate(reply.calls, index):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": call.name, "input": {}}
        yield {"type": "content_block_start", "index": number, "content_block": block}
        text = json.dumps(call.arguments)
        for part in ("", text[: len(text) // 2], text[len(text) // 2 :]):
            yield {"type": "content_block_delta", "index": number, "delta": {"type": "input_json_delta", "partial_json": part}}
        yield {"type": "content_block_stop", "index": number}
    reason = reply.reason or ("tool_use" if reply.calls else "end_turn")
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 15}}
    yield {"type": "message_stop"}
