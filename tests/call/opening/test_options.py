"""Field by field, the more particular option wins."""

from __future__ import annotations

import msgspec
import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.call.opening.options import DEFAULT_END_OF_TURN_MS, choose_speech, merged
from active_call.call.sound.call_progress import gain_of
from active_call.contract import options, wire
from active_call.contract.options import AgcOption, AsrOption, CallOption, EouOption, SipOption, TtsOption, VadOption
from active_call.media.enhance.gain import GainSettings


def test_merged_takes_the_call_over_the_playbook_over_the_defaults() -> None:
    call = CallOption(tts=TtsOption(speaker="bella"), sip=SipOption(enable_srtp=False, headers={"X-A": "call"}))
    playbook = CallOption(tts=TtsOption(speaker="adam", speed=1.2), asr=AsrOption(provider="openai"))
    defaults = CallOption(tts=TtsOption(provider="espeak"), sip=SipOption(enable_srtp=True, headers={"X-A": "d", "X-B": "d"}))
    result = merged(call, merged(playbook, defaults))
    assert result.tts == TtsOption(provider="espeak", speaker="bella", speed=1.2)
    assert result.asr == AsrOption(provider="openai")
    assert result.sip == SipOption(enable_srtp=False, headers={"X-A": "call", "X-B": "d"})


def test_end_of_turn_comes_from_eou_then_vad_then_the_default() -> None:
    assert choose_speech(CallOption(), None).end_of_turn_ms == DEFAULT_END_OF_TURN_MS
    assert choose_speech(CallOption(vad=VadOption(silence_timeout=900)), None).end_of_turn_ms == 900
    assert choose_speech(CallOption(vad=VadOption(silence_timeout=900), eou=EouOption(timeout=300)), None).end_of_turn_ms == 300


@pytest.mark.parametrize(
    "name", ["Vad", "Agc", "Ambiance", "RingbackDetection", "Recorder", "Eou", "Asr", "Tts", "Refer", "Sip", "MediaPass"]
)
def test_every_value_that_was_said_wins_whatever_it_is(name: str) -> None:
    kind = getattr(options, f"{name}Option")
    for field in msgspec.structs.fields(kind):
        for said in (False, 0, 0.5, "", 16_000, True):
            try:
                over = wire.convert({field.encode_name: said}, kind, strict=True).value
            except wire.ContractError:
                continue
            value = getattr(over, field.name)
            assert getattr(merged(over, merged(kind(), kind())), field.name) == value
            for below in (True, 1, 0.7, "x", 8_000):
                under = kind(**{field.name: below})
                assert getattr(merged(over, under), field.name) == value, (name, field.name, said, below)
                assert getattr(merged(kind(), under), field.name) == below


def test_fallback_is_a_list_of_few_names_and_goes_to_each_engine() -> None:
    option = wire.convert({"asr": {"fallback": ["pocketsphinx"]}, "tts": {"fallback": []}}, CallOption, strict=True).value
    defaults = CallOption(asr=AsrOption(provider="openai", fallback=["x"]), tts=TtsOption(fallback=["espeak"]))
    choice = choose_speech(
        merged(option, defaults), parse_playbook("---\nllm: {model: m, fallback: [a, b]}\n---\nHi", file="x.md", environment={})
    )
    assert (choice.asr.fallback, choice.tts.fallback) == (["pocketsphinx"], [])
    assert choice.llm is not None and choice.llm.fallback == ("a", "b")
    for bad in ("openai", ["a"] * 5, ["x" * 65], [7], {}):
        with pytest.raises(wire.ContractError):
            wire.convert({"asr": {"fallback": bad}}, CallOption)


def test_value_that_equals_the_default_overrides_a_lower_level() -> None:
    call = wire.convert({"vad": {"voiceThreshold": 0.5, "silencePadding": 100}, "eou": {"timeout": 550}}, CallOption).value
    playbook = CallOption(vad=VadOption(voice_threshold=0.9, silence_padding=400), eou=EouOption(timeout=2000))
    choice = choose_speech(merged(call, playbook), None)
    assert (choice.voice_threshold, choice.silence_ms, choice.end_of_turn_ms) == (0.5, 100, 550)


def test_what_nobody_says_is_the_built_in_default() -> None:
    choice = choose_speech(merged(CallOption(), CallOption(vad=VadOption())), None)
    assert (choice.voice_threshold, choice.silence_ms, choice.end_of_turn_ms) == (0.5, 100, DEFAULT_END_OF_TURN_MS)
    assert gain_of(AgcOption(max_gain_db=20.0)) == GainSettings(max_gain_db=20.0)
