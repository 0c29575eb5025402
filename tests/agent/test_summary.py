"""The rolling summary: when it is asked for, what it replaces, and what happens when it fails."""

from __future__ import annotations

import pytest

from active_call.agent.effects import Summarise, Summarised
from active_call.agent.items import AgentItem, History, ToolCallItem, ToolResultItem, UserItem
from active_call.agent.summary import RollingSummary

BOOK = "---\nllm: {provider: openai, features: [rolling_summary], summaryLimit: 4}\n---\nHelp.\n"


def talk(history: History, n: int) -> None:
    for index in range(n):
        history.add(UserItem(f"u{index}"))
        history.add(AgentItem(f"a{index}"))


def test_summary_is_asked_for_once_enough_was_said_and_replaces_the_older_part():
    history = History()
    summary = RollingSummary(history, 4)
    talk(history, 3)
    assert summary.request() is None
    talk(history, 1)
    request = summary.request()
    assert request is not None and request.text == "Caller: u0\nAgent: a0\nCaller: u1\nAgent: a1" and summary.request() is None
    summary.take("They greeted.")
    prompts = history.prompts()
    assert [prompt.text for prompt in prompts] == ["[The conversation so far: They greeted.]", "u2", "a2", "u0", "a0"]


def test_next_summary_contains_the_last_one():
    history = History()
    summary = RollingSummary(history, 4)
    talk(history, 4)
    summary.request()
    summary.take("They greeted.")
    talk(history, 3)
    request = summary.request()
    assert request is not None and request.text.startswith("Summary so far: They greeted.\nCaller: u2")


def test_failed_summary_leaves_everything_and_is_asked_for_again():
    history = History()
    summary = RollingSummary(history, 4)
    talk(history, 4)
    assert summary.request() is not None
    summary.take("")
    assert len(history.prompts()) == 8 and summary.request() is not None


def test_call_of_a_tool_and_its_result_stay_together():
    history = History()
    summary = RollingSummary(history, 4)
    talk(history, 2)
    history.add(UserItem("price"))
    for item in (ToolCallItem("c", "look"), ToolResultItem("c", "2"), AgentItem("two"), AgentItem("dollars")):
        history.add(item)
    request = summary.request()
    assert request is not None and request.n_items == 4
    summary.take("Short.")
    assert [prompt.role for prompt in history.prompts()] == ["system", "user", "assistant", "tool", "assistant"]


def test_conversation_asks_beside_its_answers_and_goes_on_with_the_summary(start):
    call = start(BOOK)
    for n in range(4):
        call.say(f"question {n}")
        call.model(f"Answer {n}.")
        call.wait(3)
    (asked,) = call.effects_of(Summarise)
    assert "question 0" in asked.text and "at most ten sentences" in asked.instruction
    call.give(Summarised("They talked about numbers."))
    call.say("and now")
    texts = [prompt.text for prompt in call.asked[-1].prompts]
    assert "[The conversation so far: They talked about numbers.]" in texts and "question 0" not in texts


def test_without_the_feature_nothing_is_summarised(start):
    call = start(BOOK.replace("features: [rolling_summary], ", ""))
    for n in range(8):
        call.say(f"question {n}")
        call.model("Yes.")
        call.wait(3)
    assert call.effects_of(Summarise) == []


@pytest.mark.parametrize(
    ("feature", "word"),
    [
        ("http_tool", "HTTP Response"),
        ("voice_emotion", "[happy]"),
        ("emotion_resonance", "feels"),
        ("intent_clarification", "one short question"),
        ("context_repair", "Speech recognition makes mistakes"),
    ],
)
def test_every_feature_adds_its_instruction_in_the_language_of_the_playbook(start, feature, word):
    call = start(f"---\nllm: {{provider: openai, features: [{feature}]}}\n---\nHelp.\n")
    call.say("hello")
    assert word in call.asked[-1].prompts[0].text
    call = start(f"---\nllm: {{provider: openai, language: zh, features: [{feature}]}}\n---\nHelp.\n")
    call.say("hello")
    assert word not in call.asked[-1].prompts[0].text or word in ("[happy]", "HTTP Response")


def test_words_right_after_the_last_ones_are_read_together_with_them(start):
    book = "---\nllm: {provider: openai, features: [context_repair], repairWindowMs: 3000}\n---\nHelp.\n"
    call = start(book)
    call.say("a table for Monday")
    call.say("no, Tuesday")
    assert call.asked[-1].prompts[-1].text.startswith("[The caller went on at once")
    call.model("A table for Tuesday, of course.")
    call.wait(5)
    call.say("for four")
    assert call.asked[-1].prompts[-1].text == "for four", "the answer was heard"
    call.wait(4)
    call.say("or five")
    assert call.asked[-1].prompts[-1].text.endswith("or five"), "the window is over"


def test_without_the_feature_no_repair_is_hinted(start):
    call = start("---\nllm: {provider: openai}\n---\nHelp.\n")
    call.say("a table for Monday")
    call.say("no, Tuesday")
    assert "no, Tuesday" in call.asked[-1].prompts[-1].text
