from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers import selection
from active_call.providers.local import on_this_machine
from active_call.providers.selection import resolved, select_asr, select_llm, select_tts
from active_call.providers.settings import LlmSettings

KEY = {"OPENAI_API_KEY": "k"}
OWN_SERVER = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages look as if they were not installed."""

    def hide(*modules: str) -> None:
        monkeypatch.setattr(on_this_machine, "find_spec", lambda name: None if name in modules else find_spec(name))

    return hide


@pytest.mark.parametrize(
    ("option", "environment", "told"),
    [
        (TtsOption(), {}, "tts: piper joe (installed, English; no key; then espeak)"),
        (TtsOption(language="de"), {}, "tts: espeak de (installed, de; no key)"),
        (TtsOption(), KEY, "tts: openai (OPENAI_API_KEY is set; then piper, espeak)"),
        (TtsOption(), OWN_SERVER, "tts: piper joe (installed, English; OPENAI_BASE_URL is another server; then espeak)"),
        (TtsOption(provider="local"), KEY, "tts: piper joe (tts.provider: local; installed, English; then espeak)"),
        (TtsOption(provider="espeak"), KEY, "tts: espeak (chosen by tts.provider)"),
        (TtsOption(provider="piper"), {}, "tts: piper joe (chosen by tts.provider; then espeak)"),
        (TtsOption(provider="piper", language="de"), {}, "tts: espeak de (chosen by tts.provider: piper, which has no voice of 'de')"),
        (TtsOption(speaker="en-us+f2"), KEY, "tts: espeak en-us+f2 (it has the voice 'en-us+f2')"),
        (TtsOption(speaker="joe"), KEY, "tts: piper joe (it has the voice 'joe'; then espeak)"),
        (TtsOption(speaker="alloy"), KEY, "tts: openai alloy (OPENAI_API_KEY is set; then piper, espeak)"),
        (TtsOption(endpoint="http://127.0.0.1:1/v1"), {}, "tts: openai (tts.endpoint is set)"),
        (TtsOption(secret_key="x"), {}, "tts: openai (tts.secretKey is set)"),
    ],
)
def test_voice_is_chosen_with_its_reason(option: TtsOption, environment: dict[str, str], told: str) -> None:
    assert str(select_tts(option, environment)) == told


@pytest.mark.parametrize(
    ("settings", "environment", "told"),
    [
        (LlmSettings(), KEY, "llm: openai (OPENAI_API_KEY is set)"),
        (LlmSettings(model="m"), OWN_SERVER, "llm: openai m (OPENAI_API_KEY is set)"),
        (LlmSettings(), {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "llm: openai (OPENAI_BASE_URL is set)"),
        (LlmSettings(base_url="http://127.0.0.1:1/v1"), {}, "llm: openai (llm.baseUrl is set)"),
        (LlmSettings(provider="OpenAI"), {}, "llm: openai (chosen by llm.provider)"),
    ],
)
def test_model_is_chosen_with_its_reason(settings: LlmSettings, environment: dict[str, str], told: str) -> None:
    assert str(select_llm(settings, environment)) == told


def test_recognition_follows_the_key_and_stays_here_without_one() -> None:
    assert select_asr(AsrOption(), KEY).provider == "openai"
    assert select_asr(AsrOption(), OWN_SERVER).provider != "openai"
    assert "no key" in str(select_asr(AsrOption(), {}))


def test_specialised_vendor_comes_before_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "known_providers", lambda section: ["acme-speech", "espeak", "openai", "piper"])
    chosen = select_tts(TtsOption(), {**KEY, "ACME_SPEECH_API_KEY": "k"})
    assert str(chosen) == "tts: acme-speech (ACME_SPEECH_API_KEY is set; then piper, espeak)"


def test_espeak_speaks_where_piper_is_not_installed(without: Callable[..., None]) -> None:
    without("onnxruntime")
    assert str(select_tts(TtsOption(), {})) == "tts: espeak (installed, English; no key)"
    without("onnxruntime", "espeakng_loader")
    with pytest.raises(ConfigError, match=r"active-call\[local\].*OPENAI_API_KEY"):
        select_tts(TtsOption(), {})
    with pytest.raises(ConfigError, match="no engine of this machine"):
        select_tts(TtsOption(provider="local"), KEY)


def test_own_fallback_is_kept_and_an_empty_one_means_none() -> None:
    assert resolved(TtsOption(fallback=["openai"]), {}).fallback == ["openai"]
    assert resolved(TtsOption(fallback=[]), {}).fallback == []
    assert resolved(TtsOption(), {}).fallback == ["espeak"]
    with pytest.raises(ConfigError, match="there is no model on this machine"):
        select_llm(LlmSettings(provider="local"), KEY)
