"""Gemini's Live API against a simulator that refuses what the service refuses: turns, tools, interruption, resumption, failures."""

from __future__ import annotations

import asyncio
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
from active_call.providers.realtime_model import AgentSound, ItemAdded, RealtimeFailed, ReplyDone, ToolRequested, Transcript
from active_call.providers.registry import create_realtime
from active_call.testing.vendors.realtime.gemini import GeminiLiveServer

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
SESSION = RealtimeSession("Be brief.", tools=(ToolDefinition("weather", "Tells the weather.", PARAMETERS),), language="en-GB")


@asynccontextmanager
async def talking(*, resumes: bool = True, **option: Any) -> AsyncIterator[Talk]:
    local = EngineProcesses()
    async with GeminiLiveServer(resumes=resumes) as server, httpx.AsyncClient() as http:
        settings = {"secret_key": server.key, "endpoint": server.ws_url, **option}
        model = create_realtime(RealtimeOption(provider="gemini", **settings), Services(World(), http, local, {}))
        talk = Talk(model, server, SESSION)
        try:
            yield talk
        finally:
            await talk.stream.close()
            await model.close()
            await local.close()


def test_caller_speaks_and_the_model_answers_with_sound_and_words() -> None:
    async def run() -> None:
        async with talking(voice="Kore") as talk:
            talk.server.script.append("We open at eight.")
            talk.speak()
            await talk.replies(1)
            setup = talk.server.conversations[0].setup
            assert talk.server.complaints == []
            assert setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "Kore"
            user, agent = talk.of(ItemAdded)
            assert (user.speaker, agent.speaker, agent.after) == ("user", "agent", user.item)
            finals = [(said.speaker, said.text) for said in talk.of(Transcript) if said.is_final]
            assert finals == [("user", talk.server.heard), ("agent", "We open at eight.")]
            assert {sound.item for sound in talk.of(AgentSound)} == {agent.item}
            assert talk.of(ReplyDone)[0].usage.input_tokens == 120

    asyncio.run(run())


def test_tool_is_called_and_its_result_is_spoken_about() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.script.extend(['call weather {"city": "Porto"}', "It is sunny."])
            talk.stream.request_reply("Say hello.")
            await talk.until(lambda: talk.of(ToolRequested))
            (call,) = talk.of(ToolRequested)
            assert (call.name, call.arguments) == ("weather", '{"city": "Porto"}')
            talk.stream.answer_tool(call.call_id, "sunny")
            talk.stream.answer_tool("unknown", "never")
            await talk.replies(2)
            assert talk.server.complaints == []
            assert talk.server.conversations[0].history == [("user", "Say hello."), ("tool", "sunny"), ("model", "It is sunny.")]

    asyncio.run(run())


def test_caller_who_speaks_over_a_reply_ends_it() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.piece_s = 0.01
            talk.server.script.extend(["A very long story that goes on and on and on.", "Yes?"])
            talk.stream.request_reply()
            await talk.until(lambda: len(talk.of(AgentSound)) >= 3)
            talk.stream.cancel_reply()
            talk.stream.truncate(talk.of(AgentSound)[0].item, 100)
            talk.speak()
            await talk.replies(2)
            assert [done.is_cancelled for done in talk.of(ReplyDone)] == [True, False]
            assert talk.of(Transcript)[-1].text == "Yes?" and talk.server.complaints == []

    asyncio.run(run())


@pytest.mark.parametrize("resumes", [True, False])
def test_connection_whose_end_is_announced_is_replaced_with_all_that_was_said(resumes: bool) -> None:
    async def run() -> None:
        async with talking(resumes=resumes) as talk:
            talk.server.script.extend(["We open at eight.", "Goodbye."])
            talk.speak()
            await talk.replies(1)
            await talk.until(lambda: talk.server.handles or not resumes)
            await talk.server.conversations[0].go_away()
            await talk.until(lambda: len(talk.server.conversations) == 2 and talk.server.n_open == 1)
            talk.stream.request_reply("Say goodbye.")
            await talk.replies(2)
            expected = [("user", talk.server.heard), ("model", "We open at eight."), ("user", "Say goodbye."), ("model", "Goodbye.")]
            assert talk.server.conversations[1].history == expected
            assert bool(talk.server.conversations[1].setup["sessionResumption"]) is resumes
            assert talk.server.complaints == [] and talk.of(RealtimeFailed) == []

    asyncio.run(run())


def test_connection_that_breaks_is_replaced() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.script.extend(["We open at eight.", "Here again."])
            talk.speak()
            await talk.replies(1)
            await talk.server.drop_all()
            talk.stream.request_reply()
            await talk.replies(2)
            assert talk.of(Transcript)[-1].text == "Here again." and not any(one.is_over for one in talk.of(RealtimeFailed))

    asyncio.run(run())


def test_session_that_cannot_be_resumed_is_begun_anew_with_all_that_was_said() -> None:
    async def run() -> None:
        async with talking() as talk:
            talk.server.script.extend(["We open at eight.", "Here again."])
            talk.speak()
            await talk.replies(1)
            await talk.until(lambda: talk.server.handles)
            talk.server.handles.clear()
            await talk.server.drop_all()
            talk.stream.request_reply("Go on.")
            await talk.replies(2)
            expected = [("user", talk.server.heard), ("model", "We open at eight."), ("user", "Go on."), ("model", "Here again.")]
            assert talk.server.conversations[-1].history == expected
            assert not any(one.is_over for one in talk.of(RealtimeFailed))

    asyncio.run(run())


def test_fields_of_the_author_are_added_at_their_depth() -> None:
    async def run() -> None:
        async with talking(extra={"generationConfig": {"temperature": 0.4}}) as talk:
            await talk.until(lambda: talk.server.conversations and talk.server.conversations[0].setup)
            setup = talk.server.conversations[0].setup
            assert setup["generationConfig"] == {
                "responseModalities": ["AUDIO"],
                "speechConfig": {"languageCode": "en-GB"},
                "temperature": 0.4,
            }

    asyncio.run(run())


@pytest.mark.parametrize("fault", [{"wrong_key": True}, {"quota": True}, {"status": 403}, {"is_garbage": True}])
def test_conversation_that_cannot_begin_is_over_with_a_reason_and_without_the_key(fault: dict[str, Any]) -> None:
    async def run() -> None:
        async with talking() as talk:
            for name, value in fault.items():
                setattr(talk.server.faults, name, value)
            talk.stream.push_audio(speech(16_000))
            await talk.until(lambda: talk.of(RealtimeFailed))
            (failure,) = talk.of(RealtimeFailed)
            assert failure.is_over and talk.server.key not in str(failure.error)

    asyncio.run(run())


def test_settings_that_are_missing_are_named() -> None:
    services: Any = Services(World(), None, None, {})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="GEMINI_API_KEY"):
        create_realtime(RealtimeOption(provider="gemini"), services)
    with pytest.raises(ConfigError, match=r"realtime\.endpoint"):
        create_realtime(RealtimeOption(provider="gemini", secret_key="k", endpoint="ftp://x"), services)
