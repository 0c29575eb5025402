"""A caller who is not understood asks again, in other words, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from active_call.testing.phone.caller import Caller
from active_call.testing.phone.story import Story
from active_call.testing.sound.listening import Recognition

HOURS, SORRY = "We are open all day.", "I am sorry."
STEP = {"do": "ask", "text": "When are you open?", "expect": ["hours"], "again": ["Your hours?", "Open?"], "timeout_s": 0.2}


class Line:
    """A phone that is not over, a judge that has heard what the test says, and no sound."""

    ended = None
    epoch = 0.0

    def __init__(self, answers: list[tuple[str, ...]]) -> None:
        self.answers: Iterator[tuple[str, ...]] = iter(answers)
        self.said: list[str] = []


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Any:
    def ask(answers: list[tuple[str, ...]], step: dict[str, Any]) -> tuple[str, Line, Caller]:
        caller, line = Caller.__new__(Caller), Line(answers)
        lines = {"hours": HOURS}
        caller.__dict__.update(_story=Story(lines, [step], listening="open"), _phone=line, turns=[{}], failures=[], _own_end=0.0)
        pending: list[tuple[str, ...]] = []

        def say(text: str, _sender: object) -> float:
            line.said.append(text)
            pending[:] = [next(line.answers, ())]
            return time.monotonic()

        def wait(_receiver: object, _silence_ms: float, _deadline: float) -> tuple[float, float] | None:
            return (0.0, 1.0) if pending and pending[0] else None

        def turn(_span: object, _receiver: object) -> Recognition:
            heard = pending.pop()
            return Recognition(heard, " ".join(heard), 1.0, SORRY in heard)

        monkeypatch.setattr(caller, "_say", say, raising=False)
        monkeypatch.setattr(caller, "_wait_utterance", wait, raising=False)
        monkeypatch.setattr(caller, "_agent_turn", turn, raising=False)
        monkeypatch.setattr(caller, "_emit", lambda kind, **event: caller.turns.append({"kind": kind, **event}), raising=False)
        return caller._ask(step, object(), object()), line, caller  # type: ignore[arg-type]

    return ask


def test_answer_that_is_expected_ends_the_question(asking: Any) -> None:
    failure, line, caller = asking([(HOURS,)], STEP)
    assert failure == "" and line.said == ["When are you open?"] and len(caller.turns) == 1


@pytest.mark.parametrize("first", [(SORRY,), ()])
def test_caller_asks_again_when_it_is_not_understood_or_not_answered(first: tuple[str, ...], asking: Any) -> None:
    failure, line, caller = asking([first, (HOURS,)], STEP)
    assert failure == "" and line.said == ["When are you open?", "Your hours?"]
    assert [turn["kind"] for turn in caller.turns[1:]] == ["again"] and (SORRY if first else "no answer") in caller.turns[-1]["text"]


def test_caller_gives_up_after_its_last_words(asking: Any) -> None:
    failure, line, _ = asking([(SORRY,)] * 3, STEP)
    assert len(line.said) == 3 and "was answered by" in failure


def test_without_an_expectation_any_answer_of_two_words_will_do(asking: Any) -> None:
    assert asking([("whatever it is",)], {"do": "ask", "text": "Well?"})[0] == ""
    assert asking([("hm",)], {"do": "ask", "text": "Well?"})[0] != ""
