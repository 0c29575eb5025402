"""What every adapter owes its callers, run against all that this program has: those of this machine, and those of an OpenAI-like server.

A new adapter adds its name to the list of its kind, and its engine to the function below.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import (
    ChatMessage,
    ChatModelCapabilities,
    Failed,
    Final,
    Finished,
    RealtimeSession,
    ReplyRequest,
    Services,
    SpeechChunk,
    SpeechToTextCapabilities,
    TextDelta,
    ToolCallDelta,
    ToolDefinition,
    Usage,
    speech_of,
    text_of_reply,
)
from active_call.providers.guarding import guard
from active_call.providers.guarding.guarded_realtime import GuardedRealtimeModel
from active_call.providers.realtime_model import AgentSound, ItemAdded, ReplyDone, ToolRequested, Transcript
from active_call.providers.registry import Engines, LlmSettings
from active_call.testing.fakes.providers import FakeRecogniser, FakeResponder, FakeSynthesiser
from active_call.testing.fakes.realtime import FakeRealtimeModel

RECOGNISERS = ["moonshine", "pocketsphinx", "openai", "fake"]
SYNTHESISERS = ["piper", "espeak", "openai", "fake"]
RESPONDERS = ["openai", "fake"]
REALTIME = ["fake"]
NOISE = (np.random.default_rng(7).normal(0, 2_000, 16_000)).astype("<i2").tobytes()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may take its time: the machine may be busy, and no test here is about a deadline (`tests/providers/guarding` has these)."""
    monkeypatch.setattr(guard, "Limits", partial(guard.Limits, first_result_s=60.0, next_result_s=60.0))


def recogniser_of(name: str, engines: Engines, url: str) -> Any:
    return FakeRecogniser(["text"] * 9) if name == "fake" else engines.get_recogniser(AsrOption(provider=name, endpoint=url))


def synthesiser_of(name: str, engines: Engines, url: str) -> Any:
    return FakeSynthesiser() if name == "fake" else engines.get_synthesiser(TtsOption(provider=name, endpoint=url))


def responder_of(name: str, engines: Engines, url: str) -> Any:
    return FakeResponder(["Hello there."] * 9) if name == "fake" else engines.get_responder(LlmSettings(name, model="m", base_url=url))


def realtime_of(name: str, services: Services) -> GuardedRealtimeModel:
    return GuardedRealtimeModel(
        {"fake": FakeRealtimeModel(["Hello there.", "call weather", "A long sentence that is cut."])}[name], services.world
    )


# -- recognition


@pytest.mark.parametrize("name", RECOGNISERS)
def test_recogniser_gives_one_final_for_each_end_in_order_and_none_for_a_cancelled_one(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = recogniser_of(name, engines, fake.base_url).open(results.put_nowait, language="en")
            recognition.expect_phrases(["yes", "no"])
            recognition.push_audio(NOISE, 0)
            for index in (1, 2, 3):
                recognition.start_utterance(index, 2_000)
                assert recognition.end_utterance(index, 12_000) is None
            recognition.start_utterance(4, 13_000)
            recognition.cancel_utterance(2)
            recognition.cancel_utterance(4)
            assert results.empty(), "results come from the loop, not from within a call"
            finals = [await results.get(), await results.get()]
            assert [(r.index, type(r), r.start_sample, r.end_sample) for r in finals] == [
                (1, Final, 2_000, 12_000),
                (3, Final, 2_000, 12_000),
            ]
            recognition.start_utterance(5, 2_000)
            recognition.end_utterance(5, 12_000)
            await recognition.close()
            await engines.close()
            assert results.empty()

    asyncio.run(run())


@pytest.mark.parametrize("name", RECOGNISERS)
def test_recogniser_tells_what_it_can_and_serves_two_callers_at_once(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            engine = recogniser_of(name, engines, fake.base_url)
            assert isinstance(engine.capabilities, SpeechToTextCapabilities) and 16_000 in engine.capabilities.sample_rates
            results: list[asyncio.Queue[Any]] = [asyncio.Queue(), asyncio.Queue()]
            streams = [engine.open(queue.put_nowait, language="en") for queue in results]
            for stream in streams:
                stream.expect_phrases(["yes", "no"])
                stream.push_audio(NOISE, 0)
                stream.start_utterance(1, 2_000)
            await streams[0].close()
            for method, args in (("push_audio", (NOISE, 16_000)), ("start_utterance", (2, 0)), ("cancel_utterance", (2,))):
                getattr(streams[0], method)(*args)
            streams[1].end_utterance(1, 12_000)
            final = await results[1].get()
            assert isinstance(final, Final) and final.index == 1
            assert all(word.start_sample <= word.end_sample for word in final.words)
            assert bool(final.words) <= engine.capabilities.words
            await streams[1].close()
            await streams[1].close()
            assert all(queue.empty() for queue in results)
            await engines.close()

    asyncio.run(run())


# -- synthesis


@pytest.mark.parametrize("name", SYNTHESISERS)
def test_synthesiser_yields_whole_samples_and_can_be_left_and_asked_again(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            synthesiser = synthesiser_of(name, engines, fake.base_url)
            assert synthesiser.capabilities.rate_hz in (16_000, 22_050, 24_000)
            left = speech_of(synthesiser, "The first sentence is left. The second one is never heard.")
            assert len((await anext(left)).pcm) % 2 == 0
            await left.aclose()
            chunks = [chunk.pcm async for chunk in speech_of(synthesiser, "All of this is heard.", speed=1.5)]
            assert chunks and all(chunk and len(chunk) % 2 == 0 for chunk in chunks)
            assert b"".join([chunk.pcm async for chunk in speech_of(synthesiser, "All of this is heard.", speed=1.5)]) == b"".join(chunks)
            await synthesiser.close()
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", SYNTHESISERS)
def test_synthesiser_says_nothing_for_nothing(name: str, serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            assert [chunk async for chunk in speech_of(synthesiser_of(name, engines, fake.base_url), "")] == []
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", SYNTHESISERS)
def test_synthesiser_takes_text_in_pieces_and_speaks_at_a_flush(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            synthesiser = synthesiser_of(name, engines, fake.base_url)
            whole = b"".join([chunk.pcm async for chunk in speech_of(synthesiser, "All of this is heard.")])
            stream = synthesiser.open()
            stream.push_text("All of this ")
            stream.push_text("is heard.")
            stream.flush()
            first = await anext(stream)
            stream.push_text("All of this is heard.")
            stream.end_text()
            chunks = [first, *[chunk async for chunk in stream]]
            assert all(isinstance(chunk, SpeechChunk) for chunk in chunks)
            assert b"".join(chunk.pcm for chunk in chunks) == whole * 2
            words = [word for chunk in chunks for word in chunk.words]
            assert bool(words) <= synthesiser.capabilities.word_times
            assert words == sorted(words, key=lambda word: word.start_ms)
            await stream.cancel()
            await stream.cancel()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", SYNTHESISERS)
def test_synthesis_that_is_cancelled_at_any_moment_gives_nothing_more(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            synthesiser = synthesiser_of(name, engines, fake.base_url)
            for n_chunks, text in ((0, ""), (0, "Never heard."), (1, "Heard in part.")):
                stream = synthesiser.open()
                stream.push_text(text)
                stream.end_text()
                for _ in range(n_chunks):
                    await anext(stream)
                await stream.cancel()
                assert [chunk async for chunk in stream] == []
            await engines.close()

    asyncio.run(run())


# -- replies


@pytest.mark.parametrize("name", RESPONDERS)
def test_responder_streams_pieces_that_join_to_the_reply_and_can_be_left(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            responder = responder_of(name, engines, fake.base_url)
            request = ReplyRequest((ChatMessage("user", "Hi"),))
            left = text_of_reply(responder, request)
            assert await anext(left)
            await left.aclose()
            pieces = [piece async for piece in text_of_reply(responder, request)]
            assert "".join(pieces) == "Hello there." and len(pieces) > 1
            await responder.close()
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", RESPONDERS)
def test_replies_of_two_callers_at_once_are_events_and_keep_apart(
    name: str, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            responder = responder_of(name, engines, fake.base_url)
            assert isinstance(responder.capabilities, ChatModelCapabilities)
            request = ReplyRequest((ChatMessage("user", "Hi"),))
            unused = responder.reply(request)
            await unused.aclose()
            first, second = responder.reply(request), responder.reply(request)
            events = [await anext(first), *[event async for event in second], *[event async for event in first]]
            assert all(isinstance(event, TextDelta | ToolCallDelta | Usage | Finished) for event in events)
            assert sum(len(event.text) for event in events if isinstance(event, TextDelta)) == 2 * len("Hello there.")
            await engines.close()

    asyncio.run(run())


# -- speech-to-speech models


@pytest.mark.parametrize("name", REALTIME)
def test_realtime_model_speaks_calls_tools_and_forgets_what_was_not_heard(name: str, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            model = realtime_of(name, services)
            can = model.capabilities
            events: asyncio.Queue[Any] = asyncio.Queue()
            stream = model.open(RealtimeSession("Be brief.", tools=(ToolDefinition("weather"),)), events.put_nowait)
            stream.push_audio(bytes(can.input_rate_hz // 5))
            stream.request_reply()
            assert events.empty(), "events come from the loop, not from within a call"
            spoken = await _until_done(events)
            (item,) = {event.item for event in spoken if isinstance(event, AgentSound)}
            assert item in {event.item for event in spoken if isinstance(event, ItemAdded) and event.speaker == "agent"}
            assert all(event.pcm and len(event.pcm) % 2 == 0 for event in spoken if isinstance(event, AgentSound))
            assert can.transcripts == any(isinstance(event, Transcript) and event.is_final for event in spoken)
            stream.truncate(item, 250)
            stream.truncate("unknown", -5)
            if can.tools:
                stream.request_reply()
                (call,) = [event for event in await _until_done(events) if isinstance(event, ToolRequested)]
                assert call.name == "weather" and json.loads(call.arguments) == {}
                stream.answer_tool(call.call_id, "sunny")
            stream.request_reply()
            while not isinstance(await events.get(), AgentSound):
                pass
            stream.cancel_reply()
            assert (await _until_done(events))[-1].is_cancelled
            stream.cancel_reply()
            await stream.close()
            stream.push_audio(b"")
            await stream.close()
            assert events.empty()
            await model.close()

    asyncio.run(run())


async def _until_done(events: asyncio.Queue[Any]) -> list[Any]:
    came: list[Any] = []
    async with asyncio.timeout(10):
        while not came or not isinstance(came[-1], ReplyDone):
            came.append(await events.get())
    return came


# -- servers that fail


def test_failing_servers_end_in_provider_errors_only(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            engines = Engines(services)
            fake.answers = [500] * 20
            with pytest.raises(ProviderError):
                await anext(speech_of(engines.get_synthesiser(TtsOption(provider="openai", endpoint=fake.base_url)), "Hi"))
            with pytest.raises(ProviderError):
                await anext(text_of_reply(responder_of("openai", engines, fake.base_url), ReplyRequest(())))
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = recogniser_of("openai", engines, fake.base_url).open(results.put_nowait)
            recognition.push_audio(NOISE, 0)
            recognition.start_utterance(1, 0)
            recognition.end_utterance(1, 16_000)
            failed = await results.get()
            assert isinstance(failed, Failed) and isinstance(failed.error, ProviderError)
            assert len(fake.received) == 6
            await recognition.close()
            await engines.close()

    asyncio.run(run())
