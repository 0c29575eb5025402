"""What the options of calls come to is looked up once, until models may have been installed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers import choices as module
from active_call.providers.choices import MAX_STALE_PERIODS, Choices
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


def test_under_load_answers_are_looked_up_again_in_a_thread_while_calls_use_the_last_ones(period: list[int]) -> None:
    threads: list[threading.Thread] = []
    may_answer = threading.Event()
    installed = ["joe"]

    def find(option: TtsOption, environment: Mapping[str, str]) -> str:
        threads.append(threading.current_thread())
        if threads[-1] is not threading.main_thread():
            assert may_answer.wait(20)
        return installed[-1]

    async def story() -> None:
        choices = Choices({})
        assert choices.of(find, TtsOption()) == "joe"
        installed.append("amy")
        period[0] += 1
        assert [choices.of(find, TtsOption()) for _ in range(3)] == ["joe"] * 3
        may_answer.set()
        async with asyncio.timeout(20):
            while choices.of(find, TtsOption()) == "joe":
                await asyncio.sleep(0.001)
        assert choices.of(find, TtsOption()) == "amy"
        assert [thread is threading.main_thread() for thread in threads] == [True, False]

    asyncio.run(story())


def test_answers_of_long_ago_are_looked_up_before_they_are_used(period: list[int]) -> None:
    installed = ["joe"]

    async def story() -> None:
        choices = Choices({})
        assert choices.of(find_last, TtsOption()) == "joe"
        installed.append("amy")
        period[0] += MAX_STALE_PERIODS + 1
        assert choices.of(find_last, TtsOption()) == "amy"

    def find_last(option: TtsOption, environment: Mapping[str, str]) -> str:
        return installed[-1]

    asyncio.run(story())


def test_error_of_the_second_look_is_the_next_caller_s(period: list[int]) -> None:
    is_installed = [True]

    def find(option: TtsOption, environment: Mapping[str, str]) -> str:
        if not is_installed[0]:
            raise ConfigError("tts.provider", "not installed")
        return "piper"

    async def story() -> None:
        choices = Choices({})

        async def ask_again_and_again() -> None:
            async with asyncio.timeout(20):
                while choices.of(find, TtsOption()):
                    await asyncio.sleep(0.001)

        choices.of(find, TtsOption())
        is_installed[0] = False
        period[0] += 1
        with pytest.raises(ConfigError, match="not installed"):
            await ask_again_and_again()

    asyncio.run(story())
