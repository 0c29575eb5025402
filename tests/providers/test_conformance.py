"""What every adapter owes its callers, run against all that this program has: those of this machine, and those of an OpenAI-like server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import ChatMessage, Failed, Final, ReplyRequest, speech_of, text_of_reply
from active_call.providers.registry import Engines, LlmSettings
from active_call.testing.fake_providers import FakeRecogniser, FakeResponder, FakeSynthesiser

RECOGNISERS = ["pocketsphinx", "openai", "fake"]
SYNTHESISERS = ["espeak", "openai", "fake"]
RESPONDERS = ["openai", "fake"]
NOISE = (np.random.default_rng(7).normal(0, 2_000, 16_000)).astype("<i2").tobytes()


def recogniser_of(name: str, engines: Engines, url: str) -> Any:
    return FakeRecogniser(["text"] * 9) if name == "fake" else engines.get_recogniser(AsrOption(provider=name, endpoint=url))


def synthesiser_of(name: str, engines: Engines, url: str) -> Any:
    return FakeSynthesiser() if name == "fake" else engines.get_synthesiser(TtsOption(provider=name, endpoint=url))


def responder_of(name: str, engines: Engines, url: str) -> Any:
    return FakeResponder(["Hello there."] * 9) if name == "fake" else engines.get_responder(LlmSettings(name, model="m", base_url=url))


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
