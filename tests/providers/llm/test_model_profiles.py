"""Which server and model is asked how: fields, roles, reasoning; and what a server's refusal teaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from active_call.base.errors import ProviderError
from active_call.providers.base import ChatMessage, ReplyRequest, ToolDefinition, text_of_reply
from active_call.providers.chat import ToolCall
from active_call.providers.llm.model_profiles import profile_of, refused_fields
from active_call.providers.llm.openai import create
from active_call.providers.llm.openai_messages import fields_of, messages_for
from active_call.providers.llm.openai_stream import ChunkReader
from active_call.providers.settings import LlmSettings

OPENAI = "https://api.openai.com/v1"
TALK = (
    ChatMessage("system", "Be brief."),
    ChatMessage("assistant", "Hello."),
    ChatMessage("user", "Hi."),
    ChatMessage("system", "[The caller says nothing.]"),
    ChatMessage("system", "HTTP Response: 200"),
)


@pytest.mark.parametrize(
    ("url", "model", "name"),
    [
        (OPENAI, "gpt-4o-mini", "openai"),
        (OPENAI, "gpt-5-chat-latest", "openai gpt-5 chat"),
        (OPENAI, "gpt-5-mini", "openai gpt-5"),
        (OPENAI, "gpt-5.1", "openai gpt-5.1 and later"),
        ("https://my.openai.azure.com/openai/v1", "o4-mini", "openai o-series"),
        ("https://api.groq.com/openai/v1", "openai/gpt-oss-20b", "groq gpt-oss"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-flash", "gemini 2.5 flash"),
        ("https://api.mistral.ai/v1", "mistral-small-latest", "mistral"),
        ("http://127.0.0.1:8080/v1", "google/gemma-3-4b-it", "gemma"),
        ("http://127.0.0.1:8080/v1", "gpt-5", "unknown"),
        ("https://api.openai.com.evil.example/v1", "gpt-5", "unknown"),
    ],
)
def test_profile_is_found_by_server_and_model(url: str, model: str, name: str) -> None:
    assert profile_of(url, model).name == name


def test_hints_in_mid_conversation_stay_system_messages_where_the_server_takes_them() -> None:
    assert messages_for(profile_of(OPENAI, "gpt-4o"), TALK) == TALK


def test_hints_become_the_users_where_the_server_refuses_system_messages_there() -> None:
    sent = messages_for(profile_of("https://api.mistral.ai/v1", "mistral-small"), TALK)
    assert [message.role for message in sent] == ["system", "assistant", "user", "user", "user"]
    assert [message.content for message in sent[3:]] == ["[The caller says nothing.]", "[HTTP Response: 200]"]


def test_roles_alternate_for_templates_that_demand_it() -> None:
    sent = messages_for(profile_of("http://127.0.0.1/v1", "gemma-3-1b"), TALK)
    assert [message.role for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[-1].content == "Hi.\n[The caller says nothing.]\n[HTTP Response: 200]"


def test_conversation_ends_with_the_user_where_the_server_would_go_on_with_the_agents_text() -> None:
    talk = (ChatMessage("user", "Hi."), ChatMessage("assistant", "One moment."))
    assert messages_for(profile_of("https://api.anthropic.com/v1", "claude"), talk)[-1] == ChatMessage("user", "[Go on.]")
    assert messages_for(profile_of(OPENAI, "gpt-4o"), talk) == talk


def test_parallel_tool_calls_are_sent_only_where_they_are_taken() -> None:
    request = ReplyRequest(TALK, tools=(ToolDefinition("a"),), parallel_tool_calls=False, tool_choice="a")
    assert fields_of(request, profile_of(OPENAI, "gpt-4o"))["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in fields_of(request, profile_of(OPENAI, "o3"))
    assert "tool_choice" not in fields_of(request, profile_of("https://api.deepseek.com", "deepseek-reasoner"))


@pytest.mark.parametrize(
    ("url", "model", "calls"),
    [
        (OPENAI, "gpt-5.1", True),
        (OPENAI, "gpt-4o-mini", True),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b", True),
        ("https://api.deepseek.com", "deepseek-chat", True),
        ("https://api.deepseek.com", "deepseek-reasoner", False),
        ("https://openrouter.ai/api/v1", "anything", False),
        ("http://127.0.0.1:11434/v1", "qwen3:8b", False),
        ("http://127.0.0.1:8080/v1", "anything", False),
    ],
)
def test_functions_are_offered_only_where_they_are_surely_understood(url: str, model: str, calls: bool) -> None:
    assert profile_of(url, model).calls_tools is calls


def body_of(url: str, model: str, **settings: Any) -> dict[str, Any]:
    import httpx

    from active_call.providers.llm.openai import OpenAiChatModel
    from active_call.providers.openai_settings import Server

    adapter = OpenAiChatModel(LlmSettings(model=model, **settings), Server(url, "k"), httpx.AsyncClient())
    return adapter._body(ReplyRequest(TALK, temperature=0.3, max_tokens=60))


def test_reasoning_model_is_asked_for_little_reasoning_in_the_fields_that_it_takes() -> None:
    body = body_of(OPENAI, "gpt-5-mini")
    assert body["reasoning_effort"] == "minimal" and body["max_completion_tokens"] == 60
    assert "temperature" not in body and "max_tokens" not in body
    assert body_of(OPENAI, "gpt-5.2")["reasoning_effort"] == "none"
    assert body_of("https://api.groq.com/openai/v1", "qwen/qwen3-32b")["reasoning_format"] == "hidden"
    assert body_of("https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen3-32b")["enable_thinking"] is False


def test_authors_reasoning_and_extra_win_over_the_profile() -> None:
    assert body_of(OPENAI, "gpt-5-mini", reasoning="medium")["reasoning_effort"] == "medium"
    assert body_of(OPENAI, "gpt-5-mini", extra={"reasoning_effort": "high"})["reasoning_effort"] == "high"
    assert "reasoning_effort" not in body_of(OPENAI, "gpt-4o", reasoning="medium")


def test_only_fields_that_a_refusal_names_are_left_out() -> None:
    sent = {"model": "m", "temperature": 1, "max_tokens": 5, "messages": []}
    assert refused_fields("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", sent) == ("max_tokens",)
    assert refused_fields("no such model", sent) == ()


def test_refused_field_is_left_out_of_the_repeated_request_and_of_all_later_ones(
    serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    request = ReplyRequest((ChatMessage("user", "Hi"),), temperature=0.3, max_tokens=60)

    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.answers, fake.refusal_text = [400], "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens'"
            model = create(LlmSettings(model="m", base_url=fake.base_url), services)
            for _ in range(2):
                assert "".join([word async for word in text_of_reply(model, request)]) == "Hello there."
            first, second, third = fake.received
            assert first["max_tokens"] == 60
            assert second["max_completion_tokens"] == third["max_completion_tokens"] == 60 and "max_tokens" not in second
            assert second["temperature"] == 0.3
            fake.answers, fake.refusal_text = [400, 400], "bad 'temperature'"
            with pytest.raises(ProviderError):
                await anext(text_of_reply(model, request))
            await model.close()

    asyncio.run(run())


def test_what_a_server_sends_with_a_call_goes_back_with_it() -> None:
    reader = ChunkReader()
    signature = {"google": {"thought_signature": "abc"}}
    call = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{}"}, "extra_content": signature}
    reader.events_in({"choices": [{"delta": {"tool_calls": [call]}}]})
    assert reader.extras == {"c1": signature}
    talk = (
        ChatMessage("assistant", "", (ToolCall("c1.2", "look", "{}"), ToolCall("c9", "look", "{}"))),
        ChatMessage("tool", "2", (), "c1.2"),
    )
    sent = fields_of(ReplyRequest(talk), profile_of(OPENAI, "x"), reader.extras)["messages"][0]["tool_calls"]
    assert sent[0]["extra_content"] == signature and "extra_content" not in sent[1]
