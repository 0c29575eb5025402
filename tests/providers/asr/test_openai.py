from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Callable
from typing import Any

import pytest

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.openai import MAX_PROMPT_CHARS, create, prompt_of
from active_call.providers.base import Final


def test_utterance_is_posted_as_wav_with_language_and_hint(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            option = AsrOption(endpoint=fake.base_url, secret_key="k", language="en-US", extra={"temperature": 0})
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = create(option, services).open(results.put_nowait)
            recognition.expect_phrases(["sales", "support"])
            sound = b"\x10\x20" * 16_000
            recognition.push_audio(sound, 0)
            recognition.start_utterance(7, 4_000)
            recognition.end_utterance(7, 16_000)
            result = await results.get()
            assert (result.text, result.index, type(result)) == ("I want to speak to sales", 7, Final)
            (request,) = fake.received
            assert request["authorization"] == "Bearer k"
            assert (request["model"], request["language"], request["prompt"], request["temperature"]) == (
                "whisper-1",
                "en",
                "sales. support.",
                "0",
            )
            with wave.open(io.BytesIO(request["wav"])) as file:
                assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
                assert file.readframes(file.getnframes()) == sound
            await recognition.close()

    asyncio.run(run())


@pytest.mark.parametrize(("answers", "n_asked"), [([503], 2), ([401], 1), ([500, 502], 2)])
def test_refusal_is_retried_once_if_it_may_pass(
    answers: list[int], n_asked: int, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.answers = list(answers)
            recogniser = create(AsrOption(endpoint=fake.base_url), services)
            if len(answers) < n_asked:
                assert (await recogniser.transcribe(b"\0\1" * 100, None, ())).text == fake.transcription
            else:
                with pytest.raises(ProviderError, match=f"HTTP {answers[-1]}: .*told to say"):
                    await recogniser.transcribe(b"\0\1" * 100, None, ())
            assert len(fake.received) == n_asked
            assert fake.received[0]["authorization"] is None

    asyncio.run(run())


def test_hint_stops_at_a_whole_phrase() -> None:
    prompt = prompt_of([f"phrase number {i}" for i in range(200)])
    assert len(prompt) <= MAX_PROMPT_CHARS and prompt.endswith(".")
