from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.tts.openai import create


def test_speech_is_streamed_in_whole_samples_before_it_has_all_come(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.gate = asyncio.Event()
            fake.speech = [b"\x01\x02\x03", b"\x04\x05\x06"]
            synthesiser = create(TtsOption(endpoint=fake.base_url, speaker="nova", speed=1.2, model="tts-1", emotion="calm"), services)
            chunks = synthesiser.synthesise("Hello.", speed=9.0)
            assert await anext(chunks) == b"\x01\x02"
            fake.gate.set()
            assert b"".join([chunk async for chunk in chunks]) == b"\x03\x04\x05\x06"
            (request,) = fake.received
            assert {key: request[key] for key in ("model", "voice", "input", "speed", "response_format", "instructions")} == {
                "model": "tts-1",
                "voice": "nova",
                "input": "Hello.",
                "speed": 4.0,
                "response_format": "pcm",
                "instructions": "Speak in a calm tone.",
            }

    asyncio.run(run())


def test_voice_in_the_place_of_the_model_is_taken_as_the_voice(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            _ = [chunk async for chunk in create(TtsOption(endpoint=fake.base_url, model="coral"), services).synthesise("Hi.")]
            assert (fake.received[0]["voice"], fake.received[0]["model"]) == ("coral", "gpt-4o-mini-tts")

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/json", "text/html; charset=utf-8"])
def test_answer_that_is_no_pcm_is_an_error_and_not_noise(kind: str, serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.speech_type = kind
            with pytest.raises(ProviderError, match="instead of PCM"):
                await anext(create(TtsOption(endpoint=fake.base_url), services).synthesise("Hi."))

    asyncio.run(run())


def test_refusal_names_status_and_reason(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.answers = [429]
            with pytest.raises(ProviderError, match=r"HTTP 429: .*told to say 429") as caught:
                await anext(create(TtsOption(endpoint=fake.base_url), services).synthesise("Hi."))
            assert caught.value.retryable

    asyncio.run(run())


def test_speed_out_of_bounds_is_a_config_error(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with({"OPENAI_API_KEY": "k"}) as services:
            with pytest.raises(ConfigError, match=r"tts\.speed"):
                create(TtsOption(speed=10), services)

    asyncio.run(run())
