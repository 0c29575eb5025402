"""Every example of docs/turn-taking.md in a whole call, in virtual time: what it says of the end of a turn happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from calls_kit import Call, FakeSpeechToText, Voice, _Hearing, a_call

from active_call.base.errors import ConfigError
from active_call.contract import events
from active_call.providers.base import Partial, RecognitionEvent

TEXT = (Path(__file__).parents[2] / "docs" / "turn-taking.md").read_text(encoding="utf-8")
BLOCKS = {
    title: re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    for title, section in re.findall(r"(?ms)^## (.*?)$(.*?)(?=^## |\Z)", TEXT)
    if "```yaml" in section
}
SCRIPT = "\n## book a table\nGladly.\n## my name is Baker\nHello, Baker.\n## *\nWhat?\n"


class StreamingSpeechToText(FakeSpeechToText):
    """A recogniser that tells what it has heard so far while the caller speaks."""

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> _Hearing:
        self.tell = on_event
        self.index = 0
        hearing = super().open(on_event, language=language)
        start = hearing.start_utterance

        def start_utterance(index: int, sample: int) -> None:
            self.index = index
            start(index, sample)

        hearing.start_utterance = start_utterance  # type: ignore[method-assign]
        return hearing


async def says(call: Call, text: str, duration_s: float = 0.8) -> float:
    """The caller says `text`, which the recogniser tells shortly before the end. Returns when the last voiced packet came."""
    recogniser, loop = call.recogniser, asyncio.get_running_loop()
    recogniser.will_hear.append(text)
    ended_at = loop.time() + duration_s
    if isinstance(recogniser, StreamingSpeechToText):
        loop.call_later(duration_s - 0.05, lambda: recogniser.tell(Partial(text, recogniser.index, 0, 0)))
    await call.leg.speak(duration_s)
    return ended_at


async def silence_until(call: Call, ended_at: float, condition: Callable[[], bool]) -> float:
    """Seconds from the caller's last voiced packet until `condition` holds."""
    await call.until(condition)
    return asyncio.get_running_loop().time() - ended_at


async def greeted(call: Call) -> int:
    await call.until(lambda: bool(call.of(events.TrackEnd)))
    await asyncio.sleep(1)
    return len(call.spoken)


def started(call: Call, n: int) -> Callable[[], bool]:
    return lambda: len(call.of(events.TrackStart)) > n


async def adaptive(call: Call) -> None:
    await greeted(call)
    ended_at = await says(call, "book a table")
    assert await silence_until(call, ended_at, started(call, 1)) < 0.25, "a phrase of the script ends at once"
    await call.quiet()
    await asyncio.sleep(1)
    ended_at = await says(call, "I would like to")
    assert 1.1 < await silence_until(call, ended_at, started(call, 2)) < 1.4


async def numbers(call: Call) -> None:
    call.engines.model.will_say += ["Thank you."] * 3
    await greeted(call)
    await says(call, "one two three")
    await asyncio.sleep(1.5)
    assert len(call.of(events.TrackStart)) == 1, "three digits are missing"
    ended_at = await says(call, "four five six")
    waited = await silence_until(call, ended_at, lambda: bool(call.engines.model.asked))
    assert waited < 0.2
    assert call.engines.model.asked[-1].messages[-1].content == "one two three four five six"


async def fixed(call: Call) -> None:
    await greeted(call)
    ended_at = await says(call, "book a table")
    assert 0.9 <= await silence_until(call, ended_at, started(call, 1)) < 1.1
    (turn,) = call.of(events.Turn)
    assert turn.end_of_turn_wait == pytest.approx(900, abs=5)


async def patience(call: Call) -> None:
    await greeted(call)
    ended_at = await says(call, "I would like to")
    assert 2.3 < await silence_until(call, ended_at, started(call, 1)) < 2.7


async def no_speculation(call: Call) -> None:
    call.engines.model.will_say.append("Hello, Baker.")
    await greeted(call)
    ended_at = await says(call, "Baker")
    waited = await silence_until(call, ended_at, lambda: bool(call.engines.model.asked))
    assert 0.5 < waited < 0.9, "not before the end of the turn"


async def smart_turn(call: Call) -> None:
    await greeted(call)
    ended_at = await says(call, "Baker")
    assert await silence_until(call, ended_at, started(call, 1)) < 0.35, "the model is sure: less than without it"
    (question,) = call.engines.judged  # type: ignore[attr-defined]
    assert isinstance(question, bytes)


class Judge:
    """A model of the sound that is sure of the end."""

    def __init__(self, questions: list[bytes]) -> None:
        self._questions = questions

    async def warm(self) -> None: ...

    async def judge(self, pcm: bytes) -> float:
        self._questions.append(pcm)
        await asyncio.sleep(0.05)
        return 0.9


CHECKS: dict[str, Callable[[Call], Awaitable[None]]] = {
    "How the end of a turn is found": adaptive,
    "Numbers, spellings and addresses": numbers,
    "A fixed silence": fixed,
    "More or less patience": patience,
    "Asking the model early": no_speculation,
    "A model that listens to the sound": smart_turn,
}


def in_call(
    block: str, check: Callable[[Call], Awaitable[None]], judge: Callable[[Call], Any] | None = None
) -> Callable[[], Awaitable[None]]:
    async def story() -> None:
        body = SCRIPT if "script" in block else "\nYou take orders.\n"
        async with a_call(f"---\n{block}---\n{body}") as call:
            call.engines.recogniser = StreamingSpeechToText()
            engines: Any = call.engines
            engines.judged = []
            engines.get_turn_judge = lambda model=None: judge(call) if judge else Judge(engines.judged)
            await check(call)

    return story


@pytest.mark.parametrize("title", CHECKS)
def test_example_of_the_guide_does_what_it_says(title: str, virtually: Any) -> None:
    (block,) = BLOCKS[title]
    virtually(in_call(block, CHECKS[title])())


def test_every_example_of_the_guide_is_run() -> None:
    assert set(BLOCKS) == set(CHECKS)


def test_asking_early_saves_the_models_first_words(virtually: Any) -> None:
    async def with_speculation(call: Call) -> None:
        call.engines.model.will_say.append("Hello, Baker.")
        await greeted(call)
        ended_at = await says(call, "Baker")
        waited = await silence_until(call, ended_at, lambda: bool(call.engines.model.asked))
        assert waited < 0.25
        await silence_until(call, ended_at, started(call, 1))
        (turn,) = call.of(events.Turn)
        assert turn.marks["modelAsked"] < turn.marks["turnDecided"]
        assert (turn.model or 0) < 100, "most of the model's time lay before the end of the turn"
        assert len(call.engines.model.asked) == 1

    (block,) = BLOCKS["Asking the model early"]
    virtually(in_call(block.replace("eou: {speculate: false}\n", ""), with_speculation)())


class SlowVoice(Voice):
    """Takes 400 ms to begin."""

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.4)
        async for piece in super().synthesise(text, speaker=speaker, speed=speed):
            yield piece


@pytest.mark.parametrize("speculates", [True, False])
def test_first_clause_is_made_before_the_turn_is_over(virtually: Any, speculates: bool) -> None:
    option = "" if speculates else "eou: {speculate: false}\n"

    async def story() -> None:
        async with a_call(f"---\nllm: {{provider: openai}}\ngreeting: Hello.\n{option}---\nYou take orders.\n", voice=SlowVoice()) as call:
            call.engines.recogniser = StreamingSpeechToText()
            call.engines.model.will_say.append("Hello, Baker.")
            await greeted(call)
            ended_at = await says(call, "Baker")
            await silence_until(call, ended_at, started(call, 1))
            (turn,) = call.of(events.Turn)
            print(f"speculates: {speculates}, latency {turn.latency} ms, synthesis {turn.synthesis} ms")
            assert (turn.synthesis or 0) < 200 if speculates else (turn.synthesis or 0) >= 400
            assert call.spoken.count("Hello, Baker.") == 1

    virtually(story())


def test_call_goes_on_without_the_model_that_it_asked_for(virtually: Any) -> None:
    def missing(call: Call) -> Any:
        raise ConfigError("eou.model", "there is no file x.onnx")

    async def check(call: Call) -> None:
        await greeted(call)
        assert [(error.sender, "no file x.onnx" in error.error) for error in call.of(events.Error)] == [("eou", True)]
        ended_at = await says(call, "book a table")
        assert await silence_until(call, ended_at, started(call, 1)) < 0.25

    (block,) = BLOCKS["A model that listens to the sound"]
    virtually(in_call(block, check, missing)())
