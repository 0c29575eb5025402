from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import TtsOption
from active_call.providers.tts import espeak_engine
from active_call.providers.tts.espeak import create, split_sentences

RATE_HZ = 22_050


@pytest.fixture
def services_with(services_in_processes: Callable[..., Any]) -> Callable[..., Any]:
    """The library goes on from one text to the next (its noise), so equal sounds come from new processes only."""
    return services_in_processes


def sound_of(option: TtsOption, services_with: Callable[..., Any], text: str, **options: Any) -> np.ndarray[Any, Any]:
    async def run() -> bytes:
        async with services_with() as services:
            chunks = [chunk async for chunk in create(option, services).synthesise(text, **options)]
            assert all(len(chunk) <= RATE_HZ // 5 * 2 for chunk in chunks)
            return b"".join(chunks)

    return np.frombuffer(asyncio.run(run()), dtype="<i2").astype(np.int32)


def silence_ms(sound: np.ndarray[Any, Any]) -> tuple[float, float]:
    loud = np.flatnonzero(np.abs(sound) > espeak_engine.SILENCE_LEVEL)
    return loud[0] * 1000 / RATE_HZ, (len(sound) - 1 - loud[-1]) * 1000 / RATE_HZ


@pytest.mark.parametrize("text", ["Yes.", "Hello, welcome to Acme. How can I help you today?", "Sorry?"])
def test_sound_begins_within_20_ms_and_ends_with_60_ms_of_silence(text: str, services_with: Callable[..., Any]) -> None:
    sound = sound_of(TtsOption(), services_with, text)
    lead, tail = silence_ms(sound)
    assert lead < 20 and tail <= 61
    assert abs(sound[0]) < 100 and abs(sound[-1]) < 100
    assert 0.05 * len(text) * 0.5 < len(sound) / RATE_HZ < 0.05 * len(text) * 3


def test_speed_makes_it_shorter_and_volume_louder(services_with: Callable[..., Any]) -> None:
    text = "This is a sentence of some length."
    normal = sound_of(TtsOption(), services_with, text)
    fast = sound_of(TtsOption(), services_with, text, speed=2.0)
    quiet = sound_of(TtsOption(volume=1), services_with, text)
    assert 0.4 < len(fast) / len(normal) < 0.65
    assert np.abs(quiet).max() < np.abs(normal).max() / 3


def test_markup_is_not_interpreted(services_with: Callable[..., Any]) -> None:
    plain = sound_of(TtsOption(), services_with, "one two three")
    assert np.array_equal(sound_of(TtsOption(), services_with, "one\x01 two\x00 three"), plain)
    marked = sound_of(TtsOption(), services_with, 'one <break time="3s"/> two three')
    assert len(marked) / RATE_HZ < 5  # the tag's words may be said, but it is not obeyed


@pytest.mark.parametrize(("wanted", "same_as"), [("de_DE", "de"), ("en_US", "en-us"), ("zh-CN", "cmn"), ("en_GB", "en-gb")])
def test_language_codes_of_all_shapes_find_their_voice(wanted: str, same_as: str, services_with: Callable[..., Any]) -> None:
    said = sound_of(TtsOption(language=wanted), services_with, "eins zwei drei")
    assert np.array_equal(said, sound_of(TtsOption(speaker=same_as), services_with, "eins zwei drei"))


def test_accents_and_variants_are_different_voices(services_with: Callable[..., Any]) -> None:
    sounds = [
        sound_of(TtsOption(speaker=voice), services_with, "Half past four.").tobytes()
        for voice in ("en-us", "en-gb", "en-us+f3", "en-gb+f3")
    ]
    assert len(set(sounds)) == 4


def test_unknown_voice_falls_back_with_one_warning(services_with: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "active_call.providers"):
        sound = sound_of(TtsOption(speaker="alloy", language="de"), services_with, "Guten Tag. Wie geht es Ihnen?")
    assert np.array_equal(sound, sound_of(TtsOption(speaker="de"), services_with, "Guten Tag. Wie geht es Ihnen?"))
    assert [record.voice for record in caplog.records] == ["alloy"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("option", "key"), [(TtsOption(volume=0), "tts.volume"), (TtsOption(speed=-1.0), "tts.speed")])
def test_option_out_of_range_is_a_config_error(option: TtsOption, key: str, services_with: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        sound_of(option, services_with, "Hi")
    assert caught.value.key == key


def test_text_is_split_after_sentences_but_not_after_short_words() -> None:
    assert split_sentences("Welcome to Acme. Dr. Jones is out today! Shall I take a message?") == [
        "Welcome to Acme.",
        "Dr. Jones is out today!",
        "Shall I take a message?",
    ]
    assert split_sentences("  ") == []
    assert split_sentences("No. 1.") == ["No. 1."]
