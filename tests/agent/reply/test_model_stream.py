"""How soon the words of a model's answer can be said."""

from __future__ import annotations

import pytest

from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.reply.model_stream import ModelStream
from active_call.agent.reply.sentences import FIRST_CLAUSE_WORDS, FIRST_CUT_WORDS
from active_call.agent.reply.steps import Sentence

ANSWER = ("Yes, ", "we do that, ", "and it takes about a week, ", "or two.")


def pieces(first_cut_words: int) -> list[list[str]]:
    """The sentences that each piece of the answer makes sure."""
    stream = ModelStream(0.0, is_prefilled=False, first_cut_words=first_cut_words)
    told = [*(stream.feed(text, 0.0) for text in ANSWER), stream.finish()]
    return [[step.text for step in steps if isinstance(step, Sentence)] for steps in told]


def test_voice_that_goes_on_in_one_breath_begins_at_the_first_clause() -> None:
    assert pieces(FIRST_CLAUSE_WORDS) == [[], ["Yes, we do that,"], [], [], ["and it takes about a week, or two."]]
    assert pieces(FIRST_CUT_WORDS) == [[], [], ["Yes, we do that, and it takes about a week,"], [], ["or two."]]


@pytest.mark.parametrize(("says_clauses", "expected"), [(True, FIRST_CLAUSE_WORDS), (False, FIRST_CUT_WORDS)])
def test_conversation_is_told_which_voice_it_has(says_clauses: bool, expected: int) -> None:
    book = parse_playbook("---\nllm: {provider: openai}\n---\nHi.\n", file="t.md", environment={})
    conversation = make_conversation(book, {}, {}, says_clauses=says_clauses)
    assert conversation._context.first_cut_words == expected  # type: ignore[attr-defined]
