"""What each language model with an API of its own owes, against a simulator of the vendor that refuses what the vendor refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import World
from active_call.providers.base import (
    ChatEvent,
    ChatMessage,
    Finished,
    ReplyRequest,
    Services,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolDefinition,
    Usage,
    tool_calls_in,
)
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import LlmSettings, create_responder
from active_call.testing.vendors.chat.anthropic import AnthropicServer
from active_call.testing.vendors.chat.chat_vendor import ChatVendor, ScriptedCall, ScriptedReply, Unusual
from active_call.testing.vendors.chat.gemini import GeminiServer
from active_call.testing.vendors.chat.openai_responses import ResponsesServer
from searches import searching

WEATHER = ToolDefinition("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
HELLO = ReplyRequest((ChatMessage("system", "You answer the telephone."), ChatMessage("user", "Hi")))


@dataclass(frozen=True)
class Vendor:
    name: str
    server: Callable[[], Any]
    usage: Usage
    model: str | None = None
    path: str = ""
    further: dict[str, Any] = field(default_factory=dict)


VENDORS = [
    Vendor("anthropic", AnthropicServer, Usage(100, 15, 80)),
    Vendor("gemini", GeminiServer, Usage(100, 10, 64, 7), model="gemini-3-flash-preview"),
    Vendor("gemini", lambda: GeminiServer(gives_ids=True), Usage(100, 10, 64, 7)),
    Vendor("openai-responses", ResponsesServer, Usage(100, 15, 64, 7), model="gpt-4o-mini", path="/v1"),
    Vendor("openai-responses", lambda: ResponsesServer(thinks=True), Usage(100, 15, 64, 7), model="gpt-5-mini", path="/v1"),
]
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: f"{vendor.name}-{vendor.model or 'default'}")

each_api = pytest.mark.parametrize("vendor", [VENDORS[0], VENDORS[2], VENDORS[3]], ids=lambda vendor: vendor.name)


@asynccontextmanager
async def serving(vendor: Vendor, **given_settings: Any) -> AsyncIterator[tuple[ChatVendor, Any]]:
    """The simulator and the adapter, behind the provider wall with one attempt."""
    local = EngineProcesses()
    async with vendor.server() as simulator, httpx.AsyncClient() as http:
        options = {"api_key": simulator.key, "model": vendor.model, "base_url": simulator.http_url + vendor.path, **given_settings}
        model = create_responder(LlmSettings(vendor.name, **options), Services(World(), http, local, {}), attempts=1)
        try:
            yield simulator, model
        finally:
            await model.close()
            await local.close()


async def events_of(model: Any, request: ReplyRequest = HELLO) -> list[ChatEvent]:
    return [event async for event in model.reply(request)]


def text_in(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@each_vendor
def test_reply_streams_with_its_end_and_its_usage(vendor: Vendor) -> None:
    async def run() -> None:
        async with serving(vendor, temperature=0.4, max_tokens=8) as (simulator, model):
            events = await events_of(model)
            assert simulator.complaints == []
            assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hello", " there", "."]
            assert [event for event in events if isinstance(event, Finished)] == [Finished("stop")]
            (usage,) = [event for event in events if isinstance(event, Usage)]
            assert (usage.input_tokens, usage.cached_tokens, usage.reasoning_tokens) == (
                vendor.usage.input_tokens,
                vendor.usage.cached_tokens,
                vendor.usage.reasoning_tokens,
            )
            assert usage.output_tokens >= vendor.usage.output_tokens
            assert "telephone" in json.dumps(simulator.received[0])

    asyncio.run(run())


@each_vendor
def test_tool_calls_of_one_reply_come_back_with_their_results(vendor: Vendor) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            simulator.replies.append(
                ScriptedReply(("One moment.",), (ScriptedCall("weather", {"city": "Łódź"}), ScriptedCall("weather", {"city": "Porto"})))
            )
            request = ReplyRequest((*HELLO.messages,), tools=(WEATHER,), tool_choice="auto")
            events = await events_of(model, request)
            calls = tool_calls_in([event for event in events if isinstance(event, ToolCallDelta)])
            assert [(call.name, json.loads(call.arguments)["city"]) for call in calls] == [("weather", "Łódź"), ("weather", "Porto")]
            assert len({call.id for call in calls}) == 2 and Finished("tool_calls") in events
            history = (
                *HELLO.messages,
                ChatMessage("assistant", "One moment.", calls),
                ChatMessage("tool", "sunny", tool_call_id=calls[0].id),
                ChatMessage("tool", "", tool_call_id=calls[1].id),
                ChatMessage("system", "Be brief."),
            )
            simulator.replies.append(ScriptedReply((), (ScriptedCall("weather"),)))
            more = await events_of(model, ReplyRequest(history, tools=(WEATHER,), tool_choice="weather"))
            (again,) = tool_calls_in([event for event in more if isinstance(event, ToolCallDelta)])
            assert json.loads(again.arguments) == {} and again.id not in {call.id for call in calls}
            assert simulator.complaints == []

    asyncio.run(run())


@each_api
@pytest.mark.parametrize(
    ("faults", "is_retryable"),
    [
        ({"status": 401}, False),
        ({"status": 400}, False),
        ({"status": 429}, True),
        ({"status": 529}, True),
        ({"close_after": 0}, True),
        ({"close_after": 3}, True),
        ({"ends_after": 2}, True),
        ({"error_after": 2}, True),
        ({"garbage": "<html>"}, True),
        ({"garbage": "[1, 2]"}, True),
    ],
)
def test_whatever_goes_wrong_is_one_provider_error_that_says_whether_it_may_pass(
    vendor: Vendor, faults: dict[str, Any], is_retryable: bool
) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            for name, value in faults.items():
                setattr(simulator.faults if hasattr(simulator.faults, name) else simulator, name, value)
            with pytest.raises(ProviderError) as caught:
                await events_of(model)
            assert caught.value.retryable is is_retryable
            assert simulator.key not in str(caught.value)

    asyncio.run(run())


@each_api
def test_wrong_key_is_refused_for_good_and_is_not_told(vendor: Vendor) -> None:
    async def run() -> None:
        async with serving(vendor, api_key="wrong-secret") as (simulator, model):
            with pytest.raises(ProviderError) as caught:
                await events_of(model)
            assert not caught.value.retryable and "wrong-secret" not in str(caught.value)
            assert len(simulator.complaints) == 1

    asyncio.run(run())


@each_api
@pytest.mark.parametrize(
    "wrong", ['{"type": 5, "candidates": 7}', '{"candidates": [null], "delta": [], "type": "content_block_delta"}', "{}"]
)
def test_events_of_wrong_types_are_passed_over(vendor: Vendor, wrong: str) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            simulator.garbage = wrong
            assert text_in(await events_of(model)) == "Hello there."

    asyncio.run(run())


@each_api
def test_reply_that_is_left_ends_its_request(vendor: Vendor) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            simulator.replies.append(ScriptedReply(("word ",) * 20_000))
            reply = model.reply(HELLO)
            assert isinstance(await anext(reply), TextDelta)
            await reply.aclose()
            for _ in range(500):
                if simulator.n_abandoned:
                    break
                await asyncio.sleep(0.01)
            assert simulator.n_abandoned == 1

    asyncio.run(run())


@each_vendor
def test_json_and_length_are_asked_for_and_told(vendor: Vendor) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            reason = {"anthropic": "max_tokens", "gemini": "MAX_TOKENS", "openai-responses": "max_output_tokens"}[vendor.name]
            simulator.replies.append(ScriptedReply(('{"a": 1}',), reason=reason))
            events = await events_of(model, ReplyRequest(HELLO.messages, json=True, max_tokens=100))
            assert Finished("length") in events and simulator.complaints == []
            assert "json" in json.dumps(simulator.received[0]).lower()

    asyncio.run(run())


@each_api
@pytest.mark.parametrize("n_replies", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_many_replies_at_once_keep_apart(vendor: Vendor, n_replies: int) -> None:
    async def run() -> None:
        async with serving(vendor) as (simulator, model):
            simulator.replies += [ScriptedReply((f"{number}",) * 3) for number in range(n_replies)]
            texts = [text_in(events) for events in await asyncio.gather(*(events_of(model.inner) for _ in range(n_replies)))]
            assert sorted(texts, key=int) == sorted((f"{number}" * 3 for number in range(n_replies)), key=int)

    asyncio.run(run())


KEY_VARIABLES = {
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "openai-responses": "OPENAI_API_KEY",
    "openai": "OPENAI_API_KEY",
}


@pytest.mark.parametrize("name", list(KEY_VARIABLES))
def test_missing_key_is_told_with_the_variable_and_the_page_where_it_is_made(name: str, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match=f"{KEY_VARIABLES[name]}.*made at https://"):
                create_responder(LlmSettings(name), services)
        async with services_with({KEY_VARIABLES[name]: "k"}) as services:
            create_responder(LlmSettings(name), services)

    asyncio.run(run())


@each_api
def test_server_of_ones_own_may_need_no_key_and_never_gets_the_environments(vendor: Vendor, services_with: Callable[..., Any]) -> None:
    variable = KEY_VARIABLES[vendor.name]

    async def run() -> None:
        async with vendor.server() as simulator, services_with({variable: "key-of-the-environment"}) as services:
            own = LlmSettings(vendor.name, model=vendor.model, base_url=simulator.http_url + vendor.path)
            model = create_responder(own, services, attempts=1)
            with pytest.raises(ProviderError):  # the simulator insists on a key, as the vendor does
                await events_of(model)
            assert simulator.requests and "key-of-the-environment" not in str(simulator.requests)
            await model.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["openai", "openai-responses"])
def test_model_of_the_environment_counts_for_the_environments_server_only(name: str, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://llm.example/v1", "OPENAI_MODEL": "house-model"}
        async with services_with(environment) as services:
            assert create_responder(LlmSettings(name), services).inner._model == "house-model"
            assert create_responder(LlmSettings(name, model="other"), services).inner._model == "other"
            with pytest.raises(ConfigError, match="which model of https://own"):
                create_responder(LlmSettings(name, base_url="https://own.example/v1"), services)

    asyncio.run(run())


_TEXTS = st.sampled_from(["", " ", "Hello.", "[The caller was interrupted.]", "Ünï"])
_CALL_IDS = st.sampled_from(["a", "b", "c"])
_CALLS = st.lists(
    st.builds(ToolCall, _CALL_IDS, st.just("weather"), st.sampled_from(["", "{}", '{"city": "X"}'])), max_size=2, unique_by=lambda c: c.id
)
_MESSAGES = st.lists(
    st.one_of(
        st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), _TEXTS),
        st.builds(ChatMessage, st.just("assistant"), _TEXTS, _CALLS),
        st.builds(lambda text, call: ChatMessage("tool", text, tool_call_id=call), _TEXTS, _CALL_IDS),
    ),
    max_size=8,
)


@searching(50)
@given(messages=_MESSAGES)
def test_any_history_becomes_a_request_that_the_vendor_takes(messages: list[ChatMessage]) -> None:
    """Histories hold interruptions, results that come late, calls that were cancelled; the conversation must go on."""
    from active_call.providers.llm import anthropic_messages, gemini_contents
    from active_call.testing.vendors.chat import anthropic, gemini

    seen: set[str] = set()
    for index, message in enumerate(messages):  # ids are unique in a conversation
        fresh = tuple(call for call in message.tool_calls if call.id not in seen)
        seen |= {call.id for call in fresh}
        messages[index] = ChatMessage(message.role, message.content, fresh, message.tool_call_id)
    request = ReplyRequest(tuple(messages))
    try:
        anthropic._check_turns(anthropic_messages.body_of(request)["messages"])
        for content in gemini_contents.body_of(request, {call: f"signature-{call}" for call in "abc"})["contents"]:
            gemini._check_parts(content)
    except Unusual as error:
        pytest.fail(f"{error}: {messages}")
