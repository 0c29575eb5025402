"""The author's `extra` fields are added to a request at their depth: one field of an object does not replace the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from active_call.base.world import World
from active_call.contract.options import TtsOption
from active_call.providers.chat import ChatMessage, ReplyRequest, ToolDefinition
from active_call.providers.json_values import merged
from active_call.providers.llm import anthropic, gemini, openai
from active_call.providers.services import Services
from active_call.providers.settings import LlmSettings
from active_call.providers.tts.vendors import cartesia, inworld
from active_call.providers.tts.vendors.spoken_text import SpokenText

REQUEST = ReplyRequest((ChatMessage("user", "Hello."),), tools=(ToolDefinition("look"),), tool_choice="look")


@pytest.fixture
def services() -> Services:
    http: Any = object()
    return Services(World(), http, None, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "more", "both"),
    [
        ({"a": 1, "b": {"c": 2, "d": {"e": 3}}}, {"b": {"d": {"f": 4}}}, {"a": 1, "b": {"c": 2, "d": {"e": 3, "f": 4}}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"type": "tool", "name": "look"}}, {"a": {"type": "auto"}}, {"a": {"type": "auto"}}),
        ({"a": {"type": "audio", "rate": 8}}, {"a": {"type": "audio", "gain": 1}}, {"a": {"type": "audio", "rate": 8, "gain": 1}}),
    ],
)
def test_objects_are_merged_and_everything_else_is_replaced(fields: Any, more: Any, both: Any) -> None:
    assert merged(fields, more) == both


def test_field_of_an_object_leaves_the_others_in_requests_to_models(services: Services) -> None:
    google = gemini.create(LlmSettings("gemini", api_key="k", max_tokens=50, extra={"generationConfig": {"topK": 3}}), services)
    assert google._body(REQUEST)["generationConfig"] == {"topK": 3, "maxOutputTokens": 50, "thinkingConfig": {"thinkingLevel": "minimal"}}
    chat = openai.create(LlmSettings("openai", api_key="k", extra={"stream_options": {"include_obfuscation": False}}), services)
    assert chat._body(REQUEST)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    claude = anthropic.create(LlmSettings("anthropic", api_key="k", extra={"tool_choice": {"type": "auto"}}), services)
    assert claude._body(REQUEST)["tool_choice"] == {"type": "auto"}


def test_field_of_an_object_leaves_the_others_in_requests_to_voices(services: Services) -> None:
    spoken = SpokenText("Hello.", "t1")
    sonic = cartesia.create(TtsOption(secret_key="k", speed=1.2, extra={"generation_config": {"volume": 1.5}}), services)
    (request,) = sonic.ask(spoken)
    assert json.loads(request)["generation_config"] == {"speed": 1.2, "volume": 1.5}
    voice = inworld.create(TtsOption(secret_key="k", extra={"audioConfig": {"speakingRate": 1.1}}), services)
    created = json.loads(voice.begin(spoken)[0])["create"]["audioConfig"]
    assert created["speakingRate"] == 1.1 and len(created) > 1
