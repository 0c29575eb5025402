"""Recognition in the telephone band, by a voice that is not tuned for it: espeak-ng at 8 kHz and mu-law, on digital silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import soxr

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr import pocketsphinx_engine
from active_call.providers.asr.pocketsphinx import create
from active_call.providers.tts import espeak_engine

PHRASES = (
    "I want to speak to Sales",
    "Technical support, please!",
    "Billing question",
    "Check my order status",
    "Cancel my appointment",
    "Book a table for 2",
    "Talk to a human",
    "What are your opening hours?",
    "Transfer me to the operator",
)
ELSEWHERE = (
    "The weather is lovely in Paris this time of year",
    "Could you send me an invoice by email",
    "Who won the football game last night",
    "She sells sea shells by the sea shore",
    "I left my umbrella on the train yesterday",
    "I would like a pizza with mushrooms",
    "My brother plays the violin",
    "Is there parking nearby",
    "The printer is out of paper",
)
VOICES = ("en-us", "en-gb", "en-us+f3")


@cache
def telephone(text: str, voice: str) -> bytes:
    """`text` as a caller's sound: 8 kHz, mu-law (8 bits, continuous law), back at 16 kHz, with 250 ms and 150 ms of digital silence."""
    sound = np.frombuffer(espeak_engine.synthesise(text, voice, 1.0, 100), dtype="<i2").astype(float)
    narrow = soxr.resample(sound, espeak_engine.RATE_HZ, 8_000)
    level = narrow / max(np.abs(narrow).max(), 1.0) * 0.28
    companded = np.round(np.sign(level) * np.log1p(255 * np.abs(level)) / np.log(256) * 127) / 127
    expanded = np.sign(companded) * (256 ** np.abs(companded) - 1) / 255 * 32_767
    wide = np.concatenate([np.zeros(4_000), soxr.resample(expanded, 8_000, 16_000), np.zeros(2_400)])
    return np.clip(wide, -32_768, 32_767).astype("<i2").tobytes()


def test_phrases_in_the_telephone_band_come_back_as_they_were_written() -> None:
    results = [(text, pocketsphinx_engine.recognise(telephone(text, voice), PHRASES)[0]) for voice in VOICES for text in PHRASES]
    n_right = sum(text == heard for text, heard in results)
    assert n_right >= 0.95 * len(results), [pair for pair in results if pair[0] != pair[1]]


def test_sentences_outside_the_grammar_are_not_forced_into_it() -> None:
    results = [(text, pocketsphinx_engine.recognise(telephone(text, voice), PHRASES)[0]) for voice in VOICES for text in ELSEWHERE]
    n_rejected = sum(heard == "" for _, heard in results)
    assert n_rejected >= 0.8 * len(results), [pair for pair in results if pair[1]]


def test_fillers_around_a_phrase_are_left_out_of_the_text() -> None:
    for said in ("Hello, talk to a human please", "um, billing question, thank you"):
        heard, _ = pocketsphinx_engine.recognise(telephone(said, "en-us"), PHRASES)
        assert heard.lower() in said.lower() and heard


def test_brand_that_no_dictionary_has_is_recognised_by_its_spelling() -> None:
    phrases = ("Talk to Zendesk", "Talk to Telnyx", "Talk to Sales")
    assert pocketsphinx_engine.prepare(phrases) == []
    for phrase in phrases:
        assert pocketsphinx_engine.recognise(telephone(phrase, "en-us"), phrases)[0] == phrase


def test_word_that_cannot_be_pronounced_is_reported_and_the_other_phrases_work() -> None:
    phrases = ("销售", "Billing question")
    assert pocketsphinx_engine.prepare(phrases) == ["销售"]
    assert pocketsphinx_engine.recognise(telephone("Billing question", "en-us"), phrases)[0] == "Billing question"


def test_silence_and_noise_are_no_phrase() -> None:
    noise = np.random.default_rng(3).normal(0, 1_500, 24_000).astype("<i2").tobytes()
    assert pocketsphinx_engine.recognise(noise, PHRASES)[0] == ""
    assert pocketsphinx_engine.recognise(bytes(48_000), PHRASES)[0] == ""


def test_more_grammars_than_are_kept_still_work() -> None:
    for i in range(pocketsphinx_engine.MAX_GRAMMARS + 2):
        pocketsphinx_engine.prepare((f"number {i}",))
    assert pocketsphinx_engine.recognise(telephone("Talk to a human", "en-us"), PHRASES)[0] == "Talk to a human"


def test_new_phrases_count_from_the_next_utterance_on(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = create(AsrOption(), services).open(results.put_nowait)
            sound = telephone("Cancel my appointment", "en-us")
            n = len(sound) // 2
            for index, phrases in enumerate((["Billing question"], ["cancel my appointment"])):
                recognition.expect_phrases(phrases)
                recognition.push_audio(sound, index * n)
                recognition.start_utterance(index, index * n + 4_000)
                recognition.end_utterance(index, (index + 1) * n - 2_400)
                assert (await results.get()).text == ("" if index == 0 else "cancel my appointment")
            await recognition.close()

    asyncio.run(run())


@pytest.mark.alone  # the engine has 30 s for it, which a loaded machine exceeds
def test_without_phrases_it_takes_dictation_and_says_so(services_with: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with services_with() as services:
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = create(AsrOption(), services).open(results.put_nowait)
            recognition.push_audio(telephone("I forgot my password", "en-us"), 0)
            recognition.start_utterance(0, 4_000)
            recognition.end_utterance(0, 26_000)
            assert "password" in (await results.get()).text
            await recognition.close()

    with caplog.at_level(logging.WARNING, "active_call.providers"):
        asyncio.run(run())
    assert any("dictation" in record.message for record in caplog.records)


def test_other_language_is_a_config_error(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match="English only"):
                create(AsrOption(language="de-DE"), services)

    asyncio.run(run())
