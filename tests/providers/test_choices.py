"""What the options of calls come to is looked up once, until models may have been installed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers import choices as module
from active_call.providers.choices import Choices
from active_call.providers.selection import resolved


@pytest.fixture
def period(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [1]
    monkeypatch.setattr(module, "look_up_period", lambda: (0, now[0]))
    return now


def test_equal_options_are_looked_up_once_in_a_period(period: list[int]) -> None:
    asked: list[str | None] = []

    def find(option: TtsOption, environment: Mapping[str, str]) -> str:
        asked.append(option.speaker)
        return f"{option.speaker} {environment['WHERE']}"

    choices = Choices({"WHERE": "here"})
    assert [choices.of(find, TtsOption(speaker=name)) for name in ("joe", "amy", "joe")] == ["joe here", "amy here", "joe here"]
    assert asked == ["joe", "amy"]
    period[0] = 2
    assert choices.of(find, TtsOption(speaker="joe")) == "joe here"
    assert asked == ["joe", "amy", "joe"]


def test_error_is_not_kept(period: list[int]) -> None:
    answers: list[str] = []

    def find(option: TtsOption, environment: Mapping[str, str]) -> str:
        if not answers:
            raise ConfigError("tts.provider", "not installed")
        return answers[0]

    choices = Choices({})
    with pytest.raises(ConfigError):
        choices.of(find, TtsOption())
    answers.append("piper")
    assert choices.of(find, TtsOption()) == "piper"


def test_options_of_two_kinds_without_values_are_not_taken_for_each_other() -> None:
    choices = Choices({})
    assert isinstance(choices.of(resolved, AsrOption()), AsrOption)
    assert isinstance(choices.of(resolved, TtsOption()), TtsOption)
