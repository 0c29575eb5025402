from __future__ import annotations

import pytest

from active_call.agent.playbook.findings import Findings
from active_call.agent.script import Script, split_script, words_of

TEXT = """Hello.

## opening hours | when are you open
hours

## hours
short

## where is the car park
park

## I have 2 questions
two

## *
fallback one

## *
fallback two

## (silence)
quiet

## press 5
five
"""


@pytest.fixture
def script() -> Script:
    before, entries = split_script(TEXT, first_line=1, findings=Findings("p.md"))
    assert before == "Hello."
    _, common = split_script("## hours\ncommon hours\n## goodbye\nbye", first_line=1, findings=Findings("p.md"))
    return Script({"s": entries}, common)


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("Opening hours!", "hours"),
        ("hours", "short"),
        ("please tell me when are you usually open today", "hours"),
        ("your opening hours", "hours"),
        ("i have two questions", "two"),
        ("where the car park", "park"),
        ("goodbye", "bye"),
        ("elephants", None),
        ("open", None),
        ("", None),
    ],
)
def test_utterance_finds_its_answer(script, said, reply):
    entry = script.match("s", said)
    assert (entry.entry.reply if entry else None) == reply


def test_phrases_are_those_of_the_scene_then_the_common_ones_without_the_special_headings(script):
    assert script.phrases("s") == ("opening hours", "when are you open", "hours", "where is the car park", "I have 2 questions", "goodbye")
    assert script.phrases("elsewhere") == ("hours", "goodbye")


def test_special_headings_are_kept_apart(script):
    assert [e.reply for e in script.fallbacks("s")] == ["fallback one", "fallback two"]
    assert [e.reply for e in script.silence("s")] == ["quiet"]
    assert script.digit("s", "5").reply == "five"


def test_words_are_compared_without_case_punctuation_and_digits():
    assert words_of("It's 5, ISN'T it? 42.") == ("its", "five", "isnt", "it", "four", "two")
    assert words_of("营业时间") == ("营", "业", "时", "间")
