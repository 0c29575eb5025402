"""Moods and languages of single sentences: which engine speaks them, and when the call's own does."""

from __future__ import annotations

from typing import Any

from active_call.base.errors import ConfigError
from active_call.call.speech.other_voices import heard_in, spoken_in, voice_for
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.text_to_speech import TextToSpeechCapabilities

OWN = TtsOption(provider="openai", model="gpt-4o-mini-tts", speaker="coral", language="en")


class Engine:
    def __init__(self, option: TtsOption, *, emotions: bool = True) -> None:
        self.option = option
        self.capabilities = TextToSpeechCapabilities(8000, emotions=emotions)


class Engines:
    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def get_synthesiser(self, option: TtsOption, trust: Any = None) -> Any:
        if self.fails:
            raise ConfigError("tts", "no such voice")
        return Engine(option)


def chosen(wanted: TtsOption | None, *, emotions: bool = True, fails: bool = False) -> TtsOption | None:
    found: Any = voice_for(wanted, OWN, Engines(fails=fails), Engine(OWN, emotions=emotions))  # type: ignore[arg-type]
    return None if found is None else found.option


def test_mood_goes_to_an_engine_that_understands_it_and_to_no_other() -> None:
    assert chosen(TtsOption(emotion="happy")) == TtsOption(
        provider="openai", model="gpt-4o-mini-tts", speaker="coral", language="en", emotion="happy"
    )
    assert chosen(TtsOption(emotion="happy"), emotions=False) is None
    assert chosen(None) is None and chosen(TtsOption(speaker="ash")) is None


def test_other_language_leaves_the_voice_of_the_first_one() -> None:
    assert chosen(TtsOption(language="de")) == TtsOption(provider="openai", model="gpt-4o-mini-tts", language="de")
    assert chosen(TtsOption(language="en-GB")) is None
    assert spoken_in(TtsOption(provider="espeak", model="en-us"), "de") == TtsOption(provider="espeak", language="de")
    assert heard_in(AsrOption(provider="x", language="en"), "de") == AsrOption(provider="x", language="de")


def test_voice_that_cannot_be_had_costs_no_sentence() -> None:
    assert chosen(TtsOption(language="xx"), fails=True) is None
