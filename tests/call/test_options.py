"""Field by field, the more particular option wins."""

from __future__ import annotations

from active_call.call.options import DEFAULT_END_OF_TURN_MS, choose_speech, merged
from active_call.contract.options import AsrOption, CallOption, EouOption, SipOption, TtsOption, VadOption


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
