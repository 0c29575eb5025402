"""Streamed replies of chat completions servers: text, tool calls and usage, in whatever pieces the bytes arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ProviderError
from active_call.providers.base import (
    ChatEvent,
    ChatMessage,
    Finished,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    Usage,
    tool_calls_in,
)
from active_call.providers.llm.openai import create
from active_call.providers.llm.openai_stream import ChunkReader
from active_call.providers.registry import Engines
from active_call.providers.settings import LlmSettings

WEATHER = ToolDefinition("weather", "The weather of a place.", {"type": "object", "properties": {"place": {"type": "string"}}})
REQUEST = ReplyRequest((ChatMessage("user", "How is the weather in Zürich?"),), tools=(WEATHER,))


def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def call(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {**({"index": index} if index is not None else {}), **more, "function": function}


CHUNKS: list[dict[str, Any]] = [
    choice({"role": "assistant", "content": ""}),
    choice({"content": "Grüezi, "}),
    choice({"content": "ich schaue 🌤 nach."}),
    choice({"tool_calls": [call(0, "", id="call_a", type="function", name="weather")]}),
    choice({"tool_calls": [call(0, '{"place": "Zü')]}),
    choice({"tool_calls": [call(0, 'rich"}'), call(1, '{"place": "Bern"}', id="call_b", type="function", name="weather")]}),
    choice({}, "tool_calls"),
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 50,
            "completion_tokens": 20,
            "total_tokens": 70,
            "prompt_tokens_details": {"cached_tokens": 32},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    },
]


def sse(chunks: list[dict[str, Any]], newline: str = "\n", prefix: str = "data: ") -> bytes:
    lines = [f"{prefix}{json.dumps(chunk, ensure_ascii=False)}{newline}{newline}" for chunk in chunks]
    return "".join([f": keep-alive{newline}{newline}", *lines, f"{prefix}[DONE]{newline}{newline}"]).encode()


def pieces_of(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        for size in sizes:
            if piece := body[at : at + size]:
                yield piece
            at += size


@asynccontextmanager
async def raw_server(pieces: list[bytes], *, breaks: bool = False) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that writes these very pieces, one packet each; gives its URL and the bodies that it got."""
    bodies: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0)
        if not breaks:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", bodies
    finally:
        server.close()
        await server.wait_closed()


def text_in(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_in(events: list[ChatEvent]) -> tuple[ToolCall, ...]:
    return tool_calls_in([event for event in events if isinstance(event, ToolCallDelta)])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("sizes", [[10**6], [1], [2], [3], [7, 1, 64], [5, 2000], [1, 1, 400]], ids=str)
def test_reply_is_the_same_in_whatever_pieces_its_bytes_arrive(sizes: list[int], newline: str, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with raw_server(list(pieces_of(sse(CHUNKS, newline), sizes))) as (url, bodies), services_with() as services:
            engines = Engines(services)
            stream = engines.get_responder(LlmSettings("openai", model="m", base_url=url)).reply(REQUEST)
            events = [event async for event in stream]
            assert text_in(events) == "Grüezi, ich schaue 🌤 nach."
            assert calls_in(events) == (
                ToolCall("call_a", "weather", '{"place": "Zürich"}'),
                ToolCall("call_b", "weather", '{"place": "Bern"}'),
            )
            assert events[-2:] == [Finished("tool_calls"), Usage(50, 20, 32, 5)]
            assert len(bodies) == 1
            await engines.close()

    asyncio.run(run())


def test_prefix_without_its_blank_is_read_too(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with raw_server([sse(CHUNKS, prefix="data:")]) as (url, _), services_with() as services:
            model = create(LlmSettings(model="m", base_url=url), services)
            assert text_in([event async for event in model.reply(REQUEST)]) == "Grüezi, ich schaue 🌤 nach."
            await model.close()

    asyncio.run(run())


def test_stream_that_breaks_within_a_tool_call_is_a_retryable_error(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with raw_server([sse(CHUNKS[:5])[:-20]], breaks=True) as (url, _), services_with() as services:
            model = create(LlmSettings(model="m", base_url=url), services)
            with pytest.raises(ProviderError) as caught:
                _ = [event async for event in model.reply(REQUEST)]
            assert caught.value.retryable
            await model.close()

    asyncio.run(run())


def test_tools_their_calls_and_results_are_sent_as_the_api_wants_them(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with raw_server([sse(CHUNKS[:2])]) as (url, bodies), services_with() as services:
            model = create(LlmSettings(model="m", base_url=url), services)
            history = (
                ChatMessage("user", "Hi"),
                ChatMessage("assistant", "", (ToolCall("call_a", "weather", "{}"),)),
                ChatMessage("tool", "sunny", tool_call_id="call_a"),
            )
            request = ReplyRequest(history, tools=(WEATHER, ToolDefinition("hang_up")), tool_choice="weather", json=True)
            _ = [event async for event in model.reply(request)]
            (body,) = bodies
            assert body["messages"] == [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
                },
                {"role": "tool", "content": "sunny", "tool_call_id": "call_a"},
            ]
            assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "hang_up"]
            assert body["tools"][0]["function"]["parameters"] == dict(WEATHER.parameters)
            assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
            assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
            assert body["response_format"] == {"type": "json_object"}
            assert "stream_options" not in body, "servers that do not know the field refuse it"
            await model.close()

    asyncio.run(run())


def test_usage_is_asked_for_where_extra_says_so(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with raw_server([sse(CHUNKS[:2])]) as (url, bodies), services_with() as services:
            model = create(LlmSettings(model="m", base_url=url, extra={"stream_options": {"include_usage": True}}), services)
            _ = [event async for event in model.reply(ReplyRequest((), tool_choice="auto"))]
            assert bodies[0]["stream_options"] == {"include_usage": True}
            assert "tools" not in bodies[0] and "tool_choice" not in bodies[0]
            await model.close()

    asyncio.run(run())


def test_whole_answer_with_tool_calls_is_read_as_a_stream_would_be(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    message = {"content": None, "tool_calls": [call(None, '{"a": 1}', id="x", name="weather"), call(None, "{}", id="y", name="hang_up")]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.refusal = lambda: JSONResponse(body)
            model = create(LlmSettings(model="m", base_url=fake.base_url), services)
            events = [event async for event in model.reply(REQUEST)]
            assert calls_in(events) == (ToolCall("x", "weather", '{"a": 1}'), ToolCall("y", "hang_up", "{}"))
            assert events[-2:] == [Finished("tool_calls"), Usage(3, 4)]
            await model.close()

    asyncio.run(run())


# -- chunks of servers that speak the API in their own way ---------------------------------------------------------------------------------


def read(*chunks: Any) -> list[ChatEvent]:
    reader = ChunkReader()
    return [event for chunk in chunks for event in reader.events_in(chunk)]


def test_calls_that_all_have_the_same_index_are_told_apart_by_their_ids() -> None:
    events = read(
        choice({"tool_calls": [call(0, '{"a": 1}', id="x", name="weather")]}),
        choice({"tool_calls": [call(0, "{}", id="y", name="hang_up")]}),
    )
    assert calls_in(events) == (ToolCall("x", "weather", '{"a": 1}'), ToolCall("y", "hang_up", "{}"))


def test_call_whose_id_comes_with_every_delta_is_one_call() -> None:
    deltas = [choice({"tool_calls": [call(0, piece, id="x", name="weather" if not n else "")]}) for n, piece in enumerate(['{"a"', ": 1}"])]
    assert calls_in(read(*deltas)) == (ToolCall("x", "weather", '{"a": 1}'),)


def test_arguments_as_an_object_become_json() -> None:
    chunk = choice({"tool_calls": [{"id": "x", "function": {"name": "weather", "arguments": {"place": "Bern"}}}]})
    assert calls_in(read(chunk)) == (ToolCall("x", "weather", '{"place": "Bern"}'),)


def test_call_without_an_id_gets_one() -> None:
    assert calls_in(read(choice({"tool_calls": [call(0, "{}", name="weather")]}))) == (ToolCall("call_0", "weather", "{}"),)


def test_thinking_says_nothing() -> None:
    assert read(choice({"reasoning_content": "Hm."}), choice({"content": None}), {"choices": []}, {"choices": None}, None, 7) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments", "id", "index", "usage"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4))
def test_chunks_of_any_shape_are_events_or_nothing(chunks: list[Any]) -> None:
    for event in read(*chunks):
        match event:
            case TextDelta(text):
                assert text
            case ToolCallDelta():
                assert event.index >= 0 and (event.arguments or event.id or event.name)
            case Usage():
                assert event.input_tokens >= 0
            case Finished(reason):
                assert reason
