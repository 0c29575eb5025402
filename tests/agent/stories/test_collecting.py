"""A caller enters something, by keypad or voice: asked, checked, asked again, masked."""

from __future__ import annotations

import pytest

from active_call.agent.effects import AbandonModel, MaskInput, ModelText
from active_call.contract import commands, events

COLLECTORS = """dtmfCollectors:
  order:
    description: the number of your order
    digits: 4
    interDigitTimeout: 3
    timeout: 8
    retryTimes: 1
    validation: {pattern: "[1-9].*", errorMessage: "It never begins with a zero."}
  pin: {digits: 4, secret: true, prompt: "Your PIN, please.", interruptible: true}
"""
SCRIPT = f"""---
llm: {{provider: script}}
{COLLECTORS}---
## my order
<collect type="order" var="number" prompt="Which order?"/>Order {{{{ number | default("none", true) }}}}. <hangup/>

## pay
<collect type="pin"/>Thank you.

## name
<collect type="text" var="name" prompt="Your name?"/>Hello {{{{ name }}}}.
"""
MODEL = f"---\nllm: {{provider: openai}}\n{COLLECTORS}---\nHelp.\n"


@pytest.fixture
def call(start):
    call = start(SCRIPT)
    call.say("my order")
    call.wait(2)
    return call


def keys(call, text: str, every_s: float = 0.5) -> None:
    for key in text:
        call.press(key)
        call.wait(every_s)


def test_digits_are_collected_and_the_script_goes_on_with_them(call):
    assert call.heard[-1] == "Which order?"
    keys(call, "4711")
    assert call.dialogue.variables["number"] == "4711"
    call.wait(2)
    assert call.heard[-1] == "Order 4711." and len(call.hangups) == 1
    assert ("user", "[entered order: 4711]") in call.transcript
    assert call.commands_of(commands.SetVar)[-1] == commands.SetVar(key="number", value="4711")


def test_spoken_digits_do_as_well(call):
    call.say("it is four seven double one")
    assert call.dialogue.variables["number"] == "4711"
    call.wait(2)
    assert call.heard[-1] == "Order 4711."


def test_key_stops_the_question_and_typing_ahead_counts(start):
    call = start(SCRIPT)
    call.say("my order")
    keys(call, "4711", every_s=0.1)
    assert call.dialogue.variables["number"] == "4711" and call.heard[0].endswith("-")


def test_wrong_value_is_asked_for_again_with_the_playbooks_message(call):
    keys(call, "0711")
    call.wait(5)
    assert call.heard[-1] == "It never begins with a zero. Which order?"
    keys(call, "4711")
    call.wait(2)
    assert call.heard[-1] == "Order 4711."


def test_silence_is_asked_again_and_then_given_up(call):
    call.wait(8)
    assert call.spoken[-1].endswith("Which order?") or "Which order?" in " ".join(call.spoken[-2:])
    call.wait(20)
    assert call.dialogue.variables["number"] == ""
    assert call.heard[-1] == "Order none." and "nothing was entered" in call.notes


def test_pause_between_digits_ends_the_entry(call):
    keys(call, "47")
    n_spoken = len(call.spoken)
    call.wait(2)
    assert len(call.spoken) == n_spoken
    call.wait(1)
    assert len(call.spoken) > n_spoken


def test_words_that_are_no_input_are_not_answered_unless_the_collector_lets_them(start):
    call = start(SCRIPT)
    call.say("my order")
    call.wait(2)
    call.say("pay")
    assert call.dialogue.scene == "main" and "speech is not accepted as input" in call.notes
    call = start(SCRIPT)
    call.say("pay")
    call.wait(2)
    call.say("my order")
    call.wait(2)
    assert call.heard[-1] == "Which order?"


def test_secret_is_masked_everywhere_and_kept_in_the_variable(start):
    call = start(SCRIPT)
    call.say("pay")
    assert call.effects_of(MaskInput) == [MaskInput(True)]
    call.wait(2)
    keys(call, "4711")
    assert call.effects_of(MaskInput) == [MaskInput(True), MaskInput(False)]
    assert call.dialogue.variables["pin"] == "4711"
    assert ("user", "[entered pin: ****]") in call.transcript
    assert "4711" not in repr(call.effects) and "4711" not in repr(call.dialogue.history)


def test_text_is_collected_too(start):
    call = start(SCRIPT)
    call.say("name")
    call.wait(2)
    call.say("Ada Lovelace")
    call.wait(2)
    assert call.heard[-1] == "Hello Ada Lovelace."


def test_noise_and_back_channels_are_no_entry(call):
    call.hear(events.Speaking())
    call.wait(0.5)
    call.hear(events.Silence(duration=300))
    call.hear(events.AsrFinal(text=""))
    keys(call, "4711")
    assert call.dialogue.variables["number"] == "4711"


def test_model_is_told_what_was_entered_and_what_it_wrote_behind_is_dropped(start):
    call = start(MODEL)
    call.say("where is my order")
    assert '<collect type="NAME"' in call.asked[-1].prompts[0].text and "order (the number of your order)" in call.asked[-1].prompts[0].text
    call.model('Sure. <collect type="order" prompt="Its number?"/> Your order is', done=False)
    assert call.effects_of(AbandonModel)
    call.give(ModelText(call.asked[-1].reply, " on its way."))
    call.wait(3)
    assert call.heard[-1] == "Sure. Its number?"
    keys(call, "4711")
    assert call.asked[-1].prompts[-1].text.endswith("[entered order: 4711]") and len(call.asked) == 2
    call.model("It is on its way.")
    call.wait(3)
    assert call.heard[-1] == "It is on its way."


def test_model_is_told_that_nothing_was_entered(start):
    call = start(MODEL)
    call.say("where is my order")
    call.model('<collect type="order"/>')
    call.wait(1)
    assert call.spoken[-1] == "Please enter the number of your order."
    call.wait(60)
    assert call.asked[-1].prompts[-1].text == "[The caller has not entered a valid order.]"


def test_unknown_collector_is_asked_as_words_and_noted(start):
    call = start(MODEL)
    call.say("hello")
    call.model('<collect type="colour" prompt="Which colour?"/>')
    call.wait(3)
    assert call.heard[-1] == "Which colour?" and "collect dropped" in call.notes
    call.say("red")
    assert len(call.asked) == 2


def test_model_never_sees_a_secret_also_in_a_prompt(start):
    book = MODEL.replace("Help.\n", "# Scene: one\nAsk.\n# Scene: two\nThe PIN is {{ pin }}.\n")
    call = start(book)
    call.say("hello")
    call.model('<collect type="pin"/>')
    call.wait(3)
    keys(call, "4711")
    call.model('<goto scene="two"/>')
    call.wait(1)
    assert "The PIN is ****." in call.asked[-1].prompts[0].text
    assert "4711" not in repr(call.asked[-1].prompts)


def test_transfer_and_hangup_end_the_collecting(start):
    call = start(SCRIPT)
    call.say("pay")
    call.hear(events.Transfer(state="trying", target="sip:x@example.com"))
    assert call.effects_of(MaskInput)[-1] == MaskInput(False)
    call = start(SCRIPT)
    call.say("pay")
    call.hear(events.Hangup())
    assert call.effects_of(MaskInput)[-1] == MaskInput(False)


def test_hold_stops_the_time_and_it_begins_anew_afterwards(call):
    call.hear(events.Hold(on_hold=True, initiator="caller"))
    call.wait(60)
    call.hear(events.Hold(on_hold=False, initiator="caller"))
    keys(call, "4711")
    assert call.dialogue.variables["number"] == "4711"
