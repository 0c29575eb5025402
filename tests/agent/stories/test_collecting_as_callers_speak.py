"""Callers who correct a number, ask back, ask for time, or say something else while the agent collects."""

from __future__ import annotations

from typing import Any

import pytest

from active_call.contract import events

BOOK = """---
llm: {provider: script}
followup: {timeout: 6s, max: 2}
dtmfCollectors:
  order: {prompt: "Which order?", digits: 6, retryTimes: 2}
  pin: {prompt: "Your PIN, please.", minDigits: 4, maxDigits: 6, secret: true}
  card: {prompt: "Please enter your card.", digits: 4, input: dtmf}
---
## my order
<collect type="order" var="order"/>Order {{ order | default("none", true) }}.

## pin
<collect type="pin"/>Thank you.

## card
<collect type="card"/>Card {{ card }}.

## mail
<collect type="text" var="mail" prompt="What is your e-mail address?"/>I have {{ mail }}.
"""


@pytest.fixture
def call(start: Any) -> Any:
    return start(BOOK)


def ask(call: Any, what: str = "my order") -> None:
    call.say(what)
    call.wait(3)


def test_correction_during_the_last_digits_is_waited_for(call: Any) -> None:
    ask(call)
    call.hear(events.Speaking())
    call.wait(2)
    call.hear(events.Silence())
    call.wait(0.4)
    call.hear(events.Speaking())  # the caller goes on before the first text is there
    call.wait(0.1)
    call.hear(events.AsrFinal(text="four seven one one two five"))
    call.wait(1)
    assert call.dialogue.variables.get("order") is None
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text="no wait, four not five"))
    assert call.dialogue.variables["order"] == "471124"


def test_sound_after_the_last_digits_does_not_delay_the_answer(call: Any) -> None:
    ask(call)
    call.hear(events.Speaking())
    call.hear(events.AsrFinal(text="four seven one one two five"))
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text=""))
    assert call.dialogue.variables["order"] == "471125"


def test_number_of_variable_length_may_come_in_two_groups(call: Any) -> None:
    ask(call, "pin")
    call.say("nine nine one two")
    call.wait(0.3)
    call.say("three")
    call.wait(0.9)
    assert call.dialogue.variables.get("pin") is None
    call.wait(0.2)
    assert call.dialogue.variables["pin"] == "99123"


@pytest.mark.parametrize("said", ["Sorry?", "can you repeat that please", "what was the question"])
def test_question_is_repeated_on_request_and_costs_no_attempt(call: Any, said: str) -> None:
    ask(call)
    call.say(said)
    call.wait(2)
    assert call.heard[-1] == "Which order?" and len(call.heard) == 2
    call.say("four seven one one two three")
    assert call.dialogue.variables["order"] == "471123"


def test_caller_who_asks_for_time_gets_it(call: Any) -> None:
    ask(call)
    call.say("one moment please, I am looking for it")
    call.wait(29)
    assert call.heard == ["Which order?"]
    call.wait(3)
    assert call.heard == ["Which order?", "Which order?"]


def test_other_words_are_answered_with_the_question_and_in_the_end_taken(call: Any) -> None:
    ask(call)
    for n_heard in (2, 3):
        call.say("I do not have it")
        call.wait(2)
        assert call.heard[-1] == "Which order?" and len(call.heard) == n_heard
    call.say("I do not have it")
    call.wait(2)
    assert call.heard[-1] == "Order none."
    assert call.transcript.count(("user", "I do not have it")) == 3


def test_words_do_not_end_a_collector_of_keys(call: Any) -> None:
    ask(call, "card")
    for _ in range(6):
        call.say("and now the weather")
        call.wait(3)
    assert call.heard == ["Please enter your card."] * 3
    for key in "4711":
        call.press(key)
    assert call.dialogue.variables["card"] == "4711"


def test_back_channels_over_a_collector_are_nothing(call: Any) -> None:
    ask(call)
    call.say("okay")
    call.wait(3)
    assert call.heard == ["Which order?"]


def test_other_words_of_a_secret_are_kept_nowhere(call: Any) -> None:
    ask(call, "pin")
    call.say("my birthday is in may")
    assert "birthday" not in repr(call.dialogue.history)


def test_silence_is_no_wrong_value(call: Any) -> None:
    ask(call)
    call.wait(22)
    assert call.heard == ["Which order?", "Which order?"]


def test_lost_speech_is_asked_for_again(call: Any) -> None:
    ask(call)
    call.hear(events.Speaking())
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text="", is_lost=True))
    call.wait(2)
    assert call.heard == ["Which order?", "Which order?"]


def test_follow_up_is_not_sent_while_a_text_is_collected(call: Any) -> None:
    ask(call, "mail")
    call.hear(events.Speaking())
    call.wait(0.3)
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text=""))
    call.wait(15)
    assert not any("still there" in heard for heard in call.heard)


def test_request_to_repeat_is_no_text(call: Any) -> None:
    ask(call, "mail")
    call.say("pardon?")
    call.wait(3)
    assert call.heard == ["What is your e-mail address?"] * 2
    call.say("ada at example dot com")
    call.wait(3)
    assert call.heard[-1] == "I have ada at example dot com."
