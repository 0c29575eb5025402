"""What a sound is made of names it: everything that shapes it, and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from active_call.contract.options import HedgeOption, TtsOption
from active_call.providers.speech.speech_key import Voice

SHAPING = {
    "samplerate": 16000,
    "speed": 1.5,
    "volume": 7,
    "speaker": "nova",
    "codec": "pcm",
    "emotion": "calm",
    "model": "tts-1",
    "language": "de",
    "endpoint": "http://127.0.0.1:9/v1",
    "extra": {"pitch": 2},
}
NOT_SHAPING = {
    "app_id": "a",
    "secret_id": "b",
    "secret_key": "c",
    "subtitle": True,
    "max_concurrent_tasks": 3,
    "cache_key": "greeting",
    "fallback": ["espeak"],
    "hedge": HedgeOption(after=400),
    "session_id": "s",
}


def test_every_field_of_the_option_is_judged_here() -> None:
    assert {field.name for field in msgspec.structs.fields(TtsOption)} == {"provider", *SHAPING, *NOT_SHAPING}


def test_whatever_shapes_the_sound_makes_another_key() -> None:
    voices = [Voice("espeak", TtsOption()), Voice("openai", TtsOption())]
    voices += [Voice("espeak", TtsOption(**{name: value})) for name, value in SHAPING.items()]
    keys = {voice.key_of("Good morning.") for voice in voices} | {voices[0].key_of("Good evening.")}
    assert len(keys) == len(SHAPING) + 3


@pytest.mark.parametrize("name", sorted(NOT_SHAPING))
def test_what_does_not_shape_the_sound_leaves_the_key_alone(name: str) -> None:
    plain = Voice("espeak", TtsOption()).key_of("Good morning.")
    assert Voice("espeak", TtsOption(**{name: NOT_SHAPING[name]})).key_of("Good morning.") == plain


def test_named_default_provider_is_the_same_as_the_unnamed_one() -> None:
    assert Voice("espeak", TtsOption(provider="espeak")).key_of("Hi.") == Voice("espeak", TtsOption()).key_of("Hi.")


def test_speaker_and_speed_of_a_command_count_as_those_of_the_option() -> None:
    by_option = Voice("espeak", TtsOption(speaker="nova", speed=1.5)).key_of("Hi.")
    assert Voice("espeak", TtsOption(speaker="alloy")).key_of("Hi.", "nova", 1.5) == by_option


def test_order_of_free_fields_does_not_matter() -> None:
    one, other = TtsOption(extra={"a": 1, "b": 2}), TtsOption(extra={"b": 2, "a": 1})
    assert Voice("openai", one).key_of("Hi.") == Voice("openai", other).key_of("Hi.")


def test_any_text_has_a_key() -> None:
    voice = Voice("espeak", TtsOption())
    assert len({voice.key_of(text) for text in ("", "\0", "\ud800", "\ud801", "Grüß Gott", "早上好")}) == 6
