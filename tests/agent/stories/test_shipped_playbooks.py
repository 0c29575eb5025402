"""The playbooks that ship, each in a story that its author had in mind."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.agent.effects import HttpAnswered, MaskInput, ModelDone, SendToolRequest, SwitchLanguage, ToolAnswered, ToolCall
from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.check import PlaybookResources, check_playbook
from active_call.agent.playbook.parser import parse_playbook
from active_call.contract import commands, events

FOLDER = Path(__file__).parents[3] / "playbooks"


@pytest.fixture
def play(start):
    def begin(name: str, **given):
        return start((FOLDER / f"{name}.md").read_text(encoding="utf-8"), **given)

    return begin


def keys(call, text: str) -> None:
    for key in text:
        call.press(key)
        call.wait(0.4)


def says(call, text: str, s: float = 12) -> str:
    call.say(text)
    call.wait(s)
    return call.heard[-1]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_shipped_playbook_has_nothing_to_find(path):
    findings = check_playbook(path.read_text(encoding="utf-8"), file=path.name, resources=PlaybookResources({})).findings
    assert [entry.text for entry in findings.entries] == []


def test_appointment_is_made_by_voice_and_keypad_and_confirmed(play):
    call = play("appointment")
    call.wait(12)
    assert says(call, "I would like to make an appointment please") == "On which day of the month would you like to come?"
    assert says(call, "the thirty second").startswith("A month has days from one to thirty one.")
    assert says(call, "the twenty fourth", 8) == "At what hour? We are open from nine to five."
    assert says(call, "eleven", 14) == "And your telephone number, please. Press the hash key at the end."
    keys(call, "5551234#")
    call.wait(8)
    assert call.heard[-1] == "The 24 at 11. Is that right?"
    assert says(call, "yes") == "Your appointment is noted. Goodbye."
    assert call.dialogue.variables["phone"] == "5551234" and call.dialogue.variables["outcome"] == "booked" and call.hangups


def test_appointment_that_cannot_be_taken_down_goes_to_a_colleague(play):
    call = play("appointment")
    call.wait(12)
    call.say("appointment please")
    call.wait(900)
    assert call.commands_of(commands.Refer)[0].callee == "sip:desk@example.com"


def test_payment_is_asked_in_secret_and_told_to_the_server(play):
    call = play("payment", variables={"amount": "30 dollars"})
    call.wait(20)
    assert says(call, "pay by card") == "Please enter the number of your card, and press the hash key."
    keys(call, "4111111111111111#")
    call.wait(10)
    keys(call, "1399")
    call.wait(15)
    assert "no month and year" in " ".join(call.heard)
    keys(call, "0928")
    call.wait(8)
    keys(call, "123")
    call.wait(5)
    (sent,) = call.http
    assert sent.body == '{"card": "4111111111111111", "expiry": "0928", "code": "123", "amount": "30 dollars"}'
    assert "4111" not in repr(call.transcript) and "123" not in repr(call.transcript)
    assert [effect.is_secret for effect in call.effects_of(MaskInput)] == [True, False] * 3
    call.give(HttpAnswered(sent.reply, sent.request, "200 {}"))
    call.wait(8)
    assert call.heard[-1] == "Thank you, that is paid. Goodbye." and call.hangups


def test_payment_that_fails_goes_to_a_colleague(play):
    call = play("payment")
    call.wait(20)
    says(call, "pay now")
    for digits in ("4111111111111111#", "0928", "123"):
        keys(call, digits)
        call.wait(8)
    call.give(HttpAnswered(call.http[0].reply, call.http[0].request, "402 no"))
    call.wait(12)
    assert call.commands_of(commands.Refer)


def test_caller_chooses_a_language_and_changes_it(play):
    call = play("bilingual")
    call.wait(12)
    call.press("2")
    call.wait(6)
    assert call.heard[-1].startswith("Fragen Sie") and call.effects_of(SwitchLanguage)[-1] == SwitchLanguage("de")
    assert says(call, "wann haben sie geöffnet", 6) == "Wir haben von neun bis achtzehn Uhr geöffnet."
    assert says(call, "english please", 6).startswith("Ask for our opening hours")
    assert call.effects_of(SwitchLanguage)[-1] == SwitchLanguage("en")
    assert says(call, "when are you open", 6) == "We are open from nine to six."
    options = {command.option.language for command in call.commands_of(commands.Tts) if command.option and command.text}
    assert options == {"de", "en"}


def test_survey_takes_marks_by_key_and_voice_and_a_comment(play):
    call = play("survey")
    call.wait(10)
    assert says(call, "yes").startswith("How did you like the flowers?")
    keys(call, "9")
    call.wait(14)
    keys(call, "5")
    call.wait(8)
    assert says(call, "four").startswith("Last question")
    assert says(call, "more tulips") == "Thank you very much. Goodbye."
    found = call.dialogue.variables
    assert (found["mark_flowers"], found["mark_delivery"], found["comment"], found["outcome"]) == ("5", "4", "more tulips", "answered")


def test_survey_that_is_refused_ends(play):
    call = play("survey")
    call.wait(10)
    says(call, "no thank you")
    assert call.dialogue.variables["outcome"] == "refused" and call.hangups


def test_reminder_is_confirmed_or_leads_to_the_desk(play):
    call = play("reminder", variables={"name": "Ada", "when": "on Monday at ten"})
    call.wait(20)
    assert call.heard[0].startswith("Hello Ada.") and "on Monday at ten" in call.heard[0]
    says(call, "yes I will")
    assert call.hangups[0].headers == {"X-Outcome": "confirmed"}
    call = play("reminder")
    call.wait(20)
    call.press("2")
    call.wait(8)
    says(call, "yes please")
    assert call.commands_of(commands.Refer)[0].callee == "sip:desk@example.com"


def test_order_is_looked_up_and_a_failure_is_told_in_words(start):
    kit = type(start("---\nllm: {provider: openai}\n---\nHi.\n"))
    book = parse_playbook((FOLDER / "order-status.md").read_text(encoding="utf-8"), file="order-status.md", environment={})
    call = kit(make_conversation(book, {"caller_number": "+15551234"}, {}, calls_functions=True))
    call.ready()
    call.wait(6)
    call.say("where is my order 4711")
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, "c1", "order_status", '{"order": "4711"}'))
    call.give(ModelDone(reply))
    (sent,) = call.effects_of(SendToolRequest)
    assert sent.request.url == "https://shop.example.com/api/orders/4711"
    call.give(ToolAnswered(sent.id, error="connection refused"))
    call.wait(4)
    assert any("connection refused" in prompt.text for prompt in call.asked[-1].prompts)
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, "c2", "call_back", '{"reason": "order 4711"}'))
    call.give(ModelDone(reply))
    assert call.effects_of(SendToolRequest)[-1].request.body == '{"phone":"+15551234","reason":"order 4711"}'


def test_colleague_is_told_the_department_the_order_and_the_callers_words(play):
    call = play("warm-transfer")
    call.wait(15)
    call.say("my delivery is late")
    call.wait(10)
    keys(call, "123456")
    call.wait(10)
    (refer,) = call.commands_of(commands.Refer)
    assert refer.callee == "sip:deliveries@desk.example.com"
    assert refer.options.briefing.text == "Deliveries: a caller is waiting, about order 123456. The words were: my delivery is late."


def test_colleague_who_does_not_take_the_call_leaves_the_caller_with_the_agent(play):
    call = play("warm-transfer")
    call.wait(15)
    call.say("orders")
    call.wait(10)
    for state, returned in (("calling", None), ("briefing", None), ("failed", True)):
        call.hear(events.Transfer(state=state, target="sip:orders@desk.example.com", code=603, returned=returned))
    call.wait(8)
    assert call.heard[-1] == "I am sorry, I could not connect you." and not call.hangups
