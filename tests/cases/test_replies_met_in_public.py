"""Replies of models that were read aloud as they stood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from active_call.agent.reply.parser import ReplyParser
from active_call.agent.reply.steps import Sentence, Step
from active_call.agent.reply.tags import UnknownTag, WaitInput

HERE = Path(__file__).parent
JSON = HERE / "07-json-reply-behind-think-is-read-aloud"
THINKING = HERE / "08-thinking-in-other-marks-is-read-aloud"
EAR = HERE / "12-entities-emoji-and-tables-are-read-aloud"


def pieces_of(stream: Path) -> list[str]:
    lines = [line.removeprefix("data: ") for line in stream.read_text().splitlines() if line.startswith("data: {")]
    return [json.loads(line)["choices"][0]["delta"]["content"] for line in lines]


def read(pieces: list[str]) -> list[Step]:
    reader = ReplyParser()
    steps: list[Step] = []
    for piece in pieces:
        found = reader.feed(piece)
        steps = found if reader.take_retraction() else [*steps, *found]
    found = reader.finish()
    return found if reader.take_retraction() else [*steps, *found]


def said(steps: list[Step]) -> list[str]:
    return [step.text for step in steps if isinstance(step, Sentence)]


def paragraphs(file: Path) -> list[str]:
    return [part.strip("\n") for part in file.read_text().split("\n---\n")]


def test_json_behind_think_is_taken_as_json() -> None:
    expected = [Sentence("We open at nine."), WaitInput(5)]
    assert read(pieces_of(JSON / "stream.sse")) == expected
    assert read([(JSON / "reply.txt").read_text()]) == expected


def test_json_that_was_cut_is_said_as_far_as_it_came() -> None:
    assert said(read([(JSON / "cut.txt").read_text()])) == ["We are open from nine to fi"]


@pytest.mark.parametrize("index", range(5))
def test_reasoning_in_other_marks_is_not_said(index: int) -> None:
    text = paragraphs(THINKING / "replies.txt")[index]
    assert said(read([text])) == ["We open at nine."]
    assert said(read(list(text))) == ["We open at nine."]


def test_reasoning_without_its_beginning_is_taken_back() -> None:
    assert said(read(pieces_of(THINKING / "stream.sse"))) == ["We open at nine."]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, ["Fish & chips cost £5, that's all."]),
        (1, ["Your table is booked.", "See you soon"]),
        (2, ["Day, Hours", "Mon, 9-5"]),
        (3, ["Type this:", "Then press enter."]),
        (4, ["See Who is Dr. X?"]),
    ],
)
def test_text_is_made_fit_for_the_ear(index: int, expected: list[str]) -> None:
    text = paragraphs(EAR / "replies.txt")[index]
    for pieces in ([text], list(text)):
        assert said([step for step in read(pieces) if not isinstance(step, UnknownTag)]) == expected


def test_entity_that_a_stream_cuts_is_one() -> None:
    assert " ".join(said(read(pieces_of(EAR / "stream.sse")))) == "Fish & chips cost £5, that's all."
