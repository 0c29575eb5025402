"""OpenAI's Realtime API against a simulator that refuses what the service refuses: turns, tools, truncation, renewal, failures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from realtime_talk import Talk, speech

from active_call.base.errors import ConfigError
from active_call.base.world import World
from active_call.contract.options import RealtimeOption
from active_call.providers.base import RealtimeSession, Services, ToolDefinition
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.realtime import openai
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeFailed,
    ReplyDone,
    ToolRequested,
    Transcript,
    UserTurn,
)
from active_call.providers.registry import create_realtime
from active_call.testing.vendors.realtime.openai import OpenAiRealtimeServer

SESSION = RealtimeSession("Be brief.", tools=(ToolDefinition("weather", "Tells the weather."),))


@asynccontextmanager
async def talking(*, is_azure: bool = False, session: RealtimeSession = SESSION, **option: Any) -> AsyncIterator[Talk]:
    local = EngineProcesses()
    async with OpenAiRealtimeServer(is_azure=is_azure) as server, httpx.AsyncClient() as http:
        settings = {"secret_key": server.key, "endpoint": server.http_url + ("" if is_azure else "/v1"), "model": "gpt-realtime", **option}
        model = create_realtime(RealtimeOption(provider="azure" if is_azure else "openai", **settings), Services(World(), http, local, {}))
        talk = Talk(model, server, session)
        try:
            yield talk
        finally:
            await talk.stream.close()
            await model.close()
            await local.close()


@pytest.mark.parametrize("is_azure", [False, True], ids=["openai", "azure"])
def test_caller_speaks_and_the_model_answers_with_sound_and_words(is_azure: bool) -> None:
    async def run() -> None:
        async with talking(is_azure=is_azure, voice="marin") as talk:
            talk.server.script.append("We open at eight.")
            talk.speak()
            await talk.replies(1)
            conversation = talk.server.conversations[0]
            assert talk.server.complaints == []
            assert conversation.session["instructions"] == "Be brief." and conversation.session["audio"]["output"]["voice"] == "marin"
            assert [turn.is_speaking for turn in talk.of(UserTurn)] == [True, False]
            user, agent = talk.of(ItemAdded)
            assert (user.speaker, agent.speaker, agent.after) == ("user", "agent", user.item)
            finals = [(said.speaker, said.text) for said in talk.of(Transcript) if said.is_final]
            assert finals == [("user", talk.server.heard), ("agent", "We open at eight.")]
            sound = b"".join(event.pcm for event in talk.of(AgentSound))
            assert len(sound) == math.ceil(len("We open at eight.") * 60 / 100) * 4800
            (done,) = talk.of(ReplyDone)
            assert not done.is_cancelled and (done.usage.input_tokens, done.usage.cached_tokens) == (120, 64)

    asyncio.run(run())


def test_tool_is_called_and_its_result_is_spoken_about() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.script.extend(['call weather {"city": "Łódź"}', "It is sunny."])
            talk.stream.request_reply("Say hello.")
            await talk.replies(1)
            (call,) = talk.of(ToolRequested)
            assert (call.name, call.arguments) == ("weather", '{"city": "Łódź"}')
            talk.stream.answer_tool(call.call_id, "sunny")
            talk.stream.request_reply()
            await talk.replies(2)
            assert talk.server.complaints == [] and talk.server.conversations[0].instructions == ["Say hello.", ""]
            assert [one["text"] for one in talk.server.conversations[0].items.values()] == ["weather", "sunny", "It is sunny."]

    asyncio.run(run())


def test_reply_that_is_interrupted_is_cancelled_and_cut_to_what_was_heard() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.piece_s = 0.01
            talk.server.script.append("A very long story that goes on and on and on and on and on.")
            talk.stream.request_reply()
            await talk.until(lambda: len(talk.of(AgentSound)) >= 5)
            item = talk.of(AgentSound)[0].item
            talk.stream.cancel_reply()
            talk.stream.truncate(item, 250)
            talk.stream.truncate(item, 10_000_000)
            talk.stream.truncate("unknown", 5)
            talk.stream.cancel_reply()
            await talk.replies(1)
            await talk.until(lambda: talk.server.conversations[0].truncated)
            assert talk.of(ReplyDone)[0].is_cancelled
            assert talk.server.conversations[0].truncated == {item: 250} and talk.server.complaints == []
            assert talk.of(RealtimeFailed) == []

    asyncio.run(run())


def test_reply_asked_for_during_another_one_follows_it() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.piece_s = 0.01
            talk.server.script.extend(["A very long story that goes on and on.", "No, listen."])
            talk.stream.request_reply()
            talk.stream.request_reply("Say: no, listen.")
            await talk.replies(2)
            assert [done.is_cancelled for done in talk.of(ReplyDone)] == [True, False]
            assert talk.server.complaints == [] and talk.server.conversations[0].instructions == ["", "Say: no, listen."]

    asyncio.run(run())


def test_reply_that_fails_is_told_and_the_conversation_goes_on() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.script.extend(["fail", "Better."])
            talk.stream.request_reply()
            await talk.replies(1)
            talk.stream.request_reply()
            await talk.replies(2)
            (failure,) = talk.of(RealtimeFailed)
            assert not failure.is_over and "server_error" in str(failure.error)
            assert talk.of(Transcript)[-1].text == "Better."

    asyncio.run(run())


def test_session_is_renewed_before_its_limit_and_knows_what_was_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(openai.OpenAiDialect, "lives_s", 0.3)
        async with talking() as talk:
            talk.server.script.extend(["One two three four five six seven eight nine ten.", "Again."])
            talk.speak()
            await talk.replies(1)
            talk.stream.push_text("The caller is Ms Baker.")
            item = talk.of(AgentSound)[0].item
            talk.stream.truncate(item, len("One two three four five six seven eight nine ten.") * 30)
            await talk.until(lambda: len(talk.server.conversations) >= 2 and len(talk.server.conversations[1].items) >= 3)
            told = [(one["role"], one["text"]) for one in talk.server.conversations[1].items.values()]
            assert told == [("user", talk.server.heard), ("assistant", "One two three four"), ("user", "The caller is Ms Baker.")]
            await talk.until(lambda: talk.server.n_open == 1)
            talk.stream.truncate(item, 5)  # an item of the old connection
            talk.stream.request_reply()
            await talk.replies(2)
            assert talk.server.complaints == [] and talk.of(RealtimeFailed) == []

    asyncio.run(run())


def test_connection_that_breaks_is_replaced_and_sound_said_meanwhile_arrives() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.piece_s = 0.01
            talk.server.script.extend(["A very long story that goes on and on and on.", "We open at eight."])
            talk.stream.request_reply()
            await talk.until(lambda: len(talk.of(AgentSound)) >= 3)
            await talk.server.drop_all()
            await talk.until(lambda: talk.of(ReplyDone))
            assert talk.of(ReplyDone)[0].is_cancelled and not talk.of(RealtimeFailed)[0].is_over
            talk.speak()
            await talk.replies(2)
            assert talk.of(Transcript)[-1].text == "We open at eight."
            assert not any(failure.is_over for failure in talk.of(RealtimeFailed))

    asyncio.run(run())


@pytest.mark.parametrize("fault", [{"wrong_key": True}, {"quota": True}, {"status": 403}, {"status": 503}, {"is_garbage": True}])
def test_conversation_that_cannot_begin_is_over_with_a_reason_and_without_the_key(fault: dict[str, Any]) -> None:
    async def run() -> None:
        async with talking() as talk:
            for name, value in fault.items():
                setattr(talk.server.faults, name, value)
            talk.stream.push_audio(speech(24_000))
            await talk.until(lambda: talk.of(RealtimeFailed))
            (failure,) = talk.of(RealtimeFailed)
            assert failure.is_over and talk.server.key not in str(failure.error)
            talk.stream.push_audio(speech(24_000))
            talk.stream.request_reply()

    asyncio.run(run())


def test_events_of_wrong_types_end_nothing() -> None:
    async def run() -> None:
        async with talking() as talk:
            await talk.until(lambda: talk.server.conversations and talk.server.conversations[0].session)
            talk.server.faults.wrong_types = True
            talk.stream.request_reply()
            await talk.until(lambda: talk.of(ReplyDone) or talk.of(RealtimeFailed))
            assert not any(failure.is_over for failure in talk.of(RealtimeFailed))

    asyncio.run(run())


def test_fields_of_the_author_are_added_at_their_depth() -> None:
    async def run() -> None:
        own = {"audio": {"output": {"speed": 1.2}, "input": {"noise_reduction": {"type": "near_field"}}}, "reasoning": {"effort": "low"}}
        async with talking(extra=own, voice="marin") as talk:
            await talk.until(lambda: talk.server.conversations and talk.server.conversations[0].session)
            session = talk.server.conversations[0].session
            pcm = {"type": "audio/pcm", "rate": 24_000}
            assert session["audio"]["output"] == {"format": pcm, "voice": "marin", "speed": 1.2}
            heard = session["audio"]["input"]
            assert heard["format"] == pcm and heard["transcription"]["model"] and heard["noise_reduction"] == {"type": "near_field"}
            assert session["reasoning"] == {"effort": "low"} and talk.server.complaints == []

    asyncio.run(run())


def test_settings_that_are_missing_are_named() -> None:
    services: Any = Services(World(), None, None, {})  # type: ignore[arg-type]
    for provider, option, name in (
        ("openai", {}, "OPENAI_API_KEY"),
        ("azure", {}, "realtime.endpoint"),
        ("azure", {"endpoint": "https://x.openai.azure.com"}, "AZURE_OPENAI_API_KEY"),
        ("openai", {"secret_key": "k", "endpoint": "ftp://x"}, "realtime.endpoint"),
    ):
        with pytest.raises(ConfigError, match=name):
            create_realtime(RealtimeOption(provider=provider, **option), services)


def test_azures_key_of_the_environment_goes_to_azure_and_to_the_environments_server_only() -> None:
    own = {"AZURE_OPENAI_API_KEY": "from-environment", "AZURE_OPENAI_ENDPOINT": "https://gateway.example"}
    services: Any = Services(World(), None, None, own)  # type: ignore[arg-type]
    for endpoint in (None, "https://gateway.example", "https://x.openai.azure.com"):
        model = create_realtime(RealtimeOption(provider="azure", model="d", endpoint=endpoint), services)
        assert model.inner._headers == {"api-key": "from-environment"}
    with pytest.raises(ConfigError, match="secretKey"):
        create_realtime(RealtimeOption(provider="azure", model="d", endpoint="https://openai.azure.com.evil.example"), services)
