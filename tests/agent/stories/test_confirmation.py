"""What a call does before it ends or is transferred on words that may not have meant it."""

from __future__ import annotations

import pytest

from active_call.contract import commands, events

SCRIPT = """---
greeting: Hello.
llm:
  provider: script
---
## opening hours
We are open from nine to six.

## goodbye
Goodbye. <hangup/>

## speak to a human
One moment. <refer to="sip:desk@example.com"/>

## wake up service
<goto scene="night"/>

## *
Sorry, what did you say?

## (silence)
Are you still there?

# Scene: start

# Scene: night

The night desk calls you. <refer to="sip:night@example.com"/>
"""
LONG_GOODBYE = "my daughter told her friend goodbye"
INNER_GOODBYE = "how do I say goodbye to my contract with the electricity company"
QUESTION = 'Did you mean "goodbye"?'


@pytest.fixture
def call(start):
    call = start(SCRIPT)
    call.wait(3)
    return call


def hear(call, text, confidence=None):
    call.hear(events.Speaking())
    call.wait(0.5)
    call.hear(events.Silence(duration=500))
    call.hear(events.AsrFinal(text=text, confidence=confidence))


def transfers(call):
    return call.commands_of(commands.Refer)


def test_question_about_opening_hours_is_answered_and_ends_nothing(call):
    call.say("could you tell me your opening hours please")
    call.wait(10)
    assert call.spoken[-1] == "We are open from nine to six." and call.hangups == []


def test_clear_goodbye_ends_the_call_without_a_question(call):
    call.say("Thank you, good-bye.")
    call.wait(5)
    assert call.spoken[-1] == "Goodbye." and len(call.hangups) == 1


def test_goodbye_between_other_words_is_no_goodbye_and_not_asked_about(call):
    call.say(INNER_GOODBYE)
    call.wait(6)
    assert call.spoken[-1] == "Sorry, what did you say?" and call.hangups == [] and QUESTION not in call.spoken


def test_goodbye_at_the_end_of_another_sentence_is_asked_about_and_yes_ends_the_call(call):
    call.say(LONG_GOODBYE)
    call.wait(6)
    assert call.spoken[-2:] == [QUESTION, "Please say yes or no."] and call.hangups == []
    call.say("Yes, please.")
    call.wait(5)
    assert call.spoken[-1] == "Goodbye." and len(call.hangups) == 1


def test_no_keeps_the_call(call):
    call.say(LONG_GOODBYE)
    call.wait(6)
    call.say("No.")
    call.wait(5)
    assert call.spoken[-1] == "Sorry, what did you say?" and call.hangups == []


def test_unsure_recogniser_leads_to_a_question_before_a_transfer(call):
    hear(call, "speak to a human", 0.3)
    call.wait(6)
    assert 'Did you mean "speak to a human"?' in call.spoken and transfers(call) == []
    call.say("yes")
    call.wait(5)
    assert len(transfers(call)) == 1


def test_yes_please_out_of_the_blue_transfers_nobody(call):
    call.say("yes please")
    call.wait(5)
    assert transfers(call) == [] and call.hangups == []
    assert call.spoken[-1] == "Sorry, what did you say?"


def test_scene_that_transfers_is_asked_about_too(call):
    hear(call, "wake up service", 0.2)
    call.wait(6)
    assert 'Did you mean "wake up service"?' in call.spoken and transfers(call) == []


def test_clear_words_after_the_question_are_done_at_once(call):
    call.say(LONG_GOODBYE)
    call.wait(6)
    call.say("opening hours")
    call.wait(5)
    assert call.spoken[-1] == "We are open from nine to six."
    call.say("yes")
    call.wait(5)
    assert call.hangups == [], "the question is no longer open"


def test_same_unsure_words_again_are_not_asked_about_for_ever(call):
    call.say(LONG_GOODBYE)
    call.wait(6)
    call.say(LONG_GOODBYE)
    call.wait(6)
    assert call.spoken[-1] == "Sorry, what did you say?" and call.hangups == []


def test_yes_to_are_you_still_there_does_not_end_the_call(call):
    call.say(LONG_GOODBYE)
    call.wait(20)
    assert call.spoken[-1] == "Are you still there?"
    call.say("yes")
    call.wait(5)
    assert call.hangups == []


def test_yes_to_a_question_that_nobody_heard_does_not_end_the_call(call):
    call.hear(events.Speaking())
    call.hear(events.AsrFinal(text=LONG_GOODBYE))
    call.hear(events.Speaking())
    call.hear(events.AsrFinal(text="yes"))
    call.wait(8)
    assert call.hangups == []


def test_question_is_asked_in_the_playbooks_own_words(start):
    call = start(
        SCRIPT.replace("## *", "## (confirm)\nMeinten Sie {{ phrase }}?\n\n## *").replace("script\n", "script\n  language: de\n", 1)
    )
    call.wait(3)
    call.say(LONG_GOODBYE)
    call.wait(6)
    assert call.spoken[-1] == "Meinten Sie goodbye?"
    call.say("Ja, bitte")
    call.wait(5)
    assert len(call.hangups) == 1


def test_chinese_playbook_asks_and_understands_in_chinese(start):
    script = "---\nllm:\n  provider: script\n  language: zh\n---\n## 再见\n再见。<hangup/>\n## *\n请再说一遍。\n"
    call = start(script)
    call.wait(2)
    hear(call, "再见", 0.2)
    call.wait(8)
    assert "再见" in call.spoken[-2] + call.spoken[-1] and call.hangups == []
    call.say("是")
    call.wait(5)
    assert len(call.hangups) == 1
