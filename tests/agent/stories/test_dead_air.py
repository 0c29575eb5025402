"""The caller never waits in silence: fillers, apologies, and what a stuck engine leads to."""

from __future__ import annotations

import pytest
from tests.agent.conftest import VirtualCall

from active_call.agent.effects import ModelText
from active_call.contract import events

PLAYBOOK = """---
llm:
  model: m
  greeting: Hello.
  EXTRA
---
# Scene: main
Be short.
"""
LONGER = "I am sorry, this takes a little longer. One moment, please."
FAILED = "I am sorry, something went wrong on my side. Could you say that again, please?"


@pytest.fixture
def begin(start):
    def begin(extra: str = "temperature: 0.5") -> VirtualCall:
        call: VirtualCall = start(PLAYBOOK.replace("EXTRA", extra))
        call.wait(3)
        call.say("what is new")
        return call

    return begin


def test_slow_model_gets_a_filler_where_the_playbook_has_one_and_then_answers(begin):
    call = begin('filler: "Let me see."')
    call.wait(1.4)
    assert call.spoken == ["Hello."]
    call.wait(0.2)
    assert call.spoken[-1] == "Let me see."
    call.model("Nothing is new.")
    call.wait(5)
    assert call.heard[-2:] == ["Let me see.", "Nothing is new."]
    assert call.transcript[-2:] == [("assistant", "Let me see."), ("assistant", "Nothing is new.")]


def test_quick_model_gets_no_filler(begin):
    call = begin('filler: "Let me see."')
    call.wait(1.4)
    call.model("Nothing is new.")
    call.wait(8)
    assert call.heard == ["Hello.", "Nothing is new."]


def test_answer_that_comes_while_the_filler_sounds_follows_it(begin):
    call = begin('filler: "Let me see what we have got today."')
    call.wait(1.6)
    reply = call.asked[-1].reply
    call.give(ModelText(reply, "Nothing is new. "))
    call.model("Really.")
    call.wait(8)
    assert call.heard == ["Hello.", "Let me see what we have got today.", "Nothing is new. Really."]


def test_stuck_model_leads_to_an_apology_and_then_to_the_error_reply_with_the_cause_in_the_log(begin):
    call = begin()
    call.wait(5.9)
    assert call.spoken == ["Hello."]
    call.wait(0.2)
    assert call.spoken[-1] == LONGER
    assert "dead air" in call.notes
    call.wait(10)
    assert call.heard[1:3] == [LONGER, FAILED]
    assert "model failed" in call.notes


def test_model_that_fails_after_the_filler_is_apologised_for(begin):
    call = begin('filler: "Let me see what we have got today."')
    call.wait(1.6)
    call.model(error="503")
    call.wait(12)
    assert call.heard[1:3] == ["Let me see what we have got today.", FAILED]


def test_apology_waits_while_the_caller_speaks(begin):
    call = begin()
    call.wait(5.8)
    call.hear(events.Speaking())
    call.wait(1)
    assert LONGER not in call.spoken


def test_stuck_synthesiser_leads_to_the_error_reply_in_a_new_playback(begin):
    call = begin()
    call.is_slow = True
    call.model("Nothing is new.")
    call.wait(5.9)
    assert call.spoken[-1] == "Nothing is new."
    call.is_slow = False
    call.wait(0.2)
    assert " ".join(call.spoken[-2:]) == FAILED
    call.wait(8)
    assert call.heard[-1] == FAILED
    assert ("assistant", "Nothing is new.") not in call.transcript


def test_stuck_recogniser_leads_to_a_question(begin):
    call = begin()
    call.model("Nothing is new.")
    call.wait(4)
    call.hear(events.Speaking())
    call.wait(1.5)
    call.hear(events.Silence(duration=1500))
    call.wait(4)
    assert "recogniser gave no text" in call.notes
    assert "Sorry, could you repeat that, please?" in call.spoken


def test_stuck_recogniser_leads_to_no_answer_of_a_script(start):
    call = start("---\nllm: {provider: script}\n---\n## hi\nHello.\n## *\nI see.\n")
    call.wait(4)
    call.hear(events.Speaking())
    call.wait(1.5)
    call.hear(events.Silence(duration=1500))
    call.wait(4)
    assert call.spoken == ["Sorry, could you repeat that, please?"]
    call.hear(events.AsrFinal(text="", index=1, is_lost=True))  # comes later than the agent has waited
    call.wait(1)
    assert call.spoken == ["Sorry, could you repeat that, please?"]


def test_short_noise_without_a_text_is_not_answered(begin):
    call = begin()
    call.model("Nothing is new.")
    call.wait(4)
    call.hear(events.Speaking())
    call.wait(0.3)
    call.hear(events.Silence(duration=300))
    call.wait(4)
    assert call.spoken[-1] == "Nothing is new."
