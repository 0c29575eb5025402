"""The agent's own actions as functions of the model, and HTTP tools of the playbook: both end in the steps and results of a reply."""

from __future__ import annotations

import pytest

from active_call.agent.effects import ModelDone, ModelText, SendToolRequest, SwitchLanguage, ToolAnswered, ToolCall, ToolsFound
from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.tools.registry import Tool
from active_call.contract import commands, events

BOOK = """---
llm: {provider: openai}
languages: {en: amy, de-DE: thorsten}
tools:
  order_status:
    description: Tells where an order is.
    parameters: {order: The number of the order.}
    url: https://shop.example/orders/{{ order }}
    select: state
    setVar: state
    cancellable: false
    resultAt: now
  note:
    url: https://shop.example/notes
    method: POST
    resultAt: next
---
# Scene: start
Help.

# Scene: order
Take the order.
"""


def begin(kit, text: str = BOOK, **given):
    book = parse_playbook(text, file="t.md", environment={})
    call = kit(make_conversation(book, {}, {}, calls_functions=given.get("calls_functions", True)))
    call.ready()
    return call


@pytest.fixture
def kit(start):
    """The class of a virtual call."""
    return type(start("---\nllm: {provider: openai}\n---\nHi.\n"))


def answer(call, *calls: tuple[str, str], text: str = "") -> None:
    reply = call.asked[-1].reply
    if text:
        call.give(ModelText(reply, text))
    for index, (name, arguments) in enumerate(calls):
        call.give(ToolCall(reply, f"c{len(call.effects)}.{index}", name, arguments))
    call.give(ModelDone(reply))


def names(call) -> list[str]:
    return [tool.name for tool in call.asked[-1].tools]


def test_model_that_calls_tools_gets_functions_in_place_of_tags(kit):
    call = begin(kit)
    call.say("hello")
    assert names(call)[:2] == ["order_status", "note"]
    assert {"hangup_call", "transfer_call", "goto_scene", "set_variable", "send_digits", "switch_language"} < set(names(call))
    assert "collect_input" not in names(call)
    system = call.asked[-1].prompts[0].text
    assert "call the functions" in system and "<hangup/>" not in system
    goto = next(tool for tool in call.asked[-1].tools if tool.name == "goto_scene")
    assert goto.parameters["properties"]["scene"]["enum"] == ["start", "order"]


def test_other_models_get_tags_and_the_playbook_decides(kit):
    call = begin(kit, calls_functions=False)
    call.say("hello")
    assert names(call) == ["order_status", "note"] and "<hangup/>" in call.asked[-1].prompts[0].text
    call = begin(kit, BOOK.replace("{provider: openai}", "{provider: openai, functions: [hangup_call]}"), calls_functions=False)
    call.say("hello")
    assert names(call) == ["order_status", "note", "hangup_call"]


def test_tags_keep_working_beside_functions(kit):
    call = begin(kit)
    call.say("bye")
    answer(call, text="Goodbye. <hangup/>")
    call.wait(3)
    assert len(call.hangups) == 1


def test_function_that_is_written_as_a_tag_is_carried_out_and_not_spoken(kit):
    call = begin(kit)
    call.say("my order")
    answer(call, text='One moment. <goto_scene scene="order"/>')
    call.wait(2)
    assert call.dialogue.scene == "order" and call.heard[-1] == "One moment."


def test_hangup_waits_until_the_words_beside_it_were_heard(kit):
    call = begin(kit)
    call.say("that is all")
    answer(call, ("hangup_call", '{"reason": "done"}'), text="Goodbye and thank you.")
    assert not call.hangups
    call.wait(3)
    assert call.heard[-1] == "Goodbye and thank you."
    assert [command.reason for command in call.hangups] == ["done"]
    assert len(call.asked) == 1


def test_transfer_goto_and_digits_are_the_same_as_the_tags(kit):
    call = begin(kit)
    call.say("my order")
    answer(call, ("goto_scene", '{"scene": "order"}'), text="One moment.")
    call.wait(2)
    assert call.dialogue.scene == "order" and len(call.asked) == 2
    answer(call, ("send_digits", '{"digits": "12#"}'))
    assert [command.digits for command in call.commands_of(commands.Dtmf)] == ["12#"]
    assert len(call.asked) == 2
    call.say("the desk")
    answer(call, ("transfer_call", '{"to": "sip:desk@example.com"}'), text="I connect you.")
    call.wait(2)
    assert call.commands_of(commands.Refer)[0].callee == "sip:desk@example.com"


def test_unknown_scene_is_refused_in_words_and_the_model_goes_on(kit):
    call = begin(kit)
    call.say("hello")
    answer(call, ("goto_scene", '{"scene": "cellar"}'))
    assert call.asked[-1].prompts[-1].text == "Error: scene must be one of start, order"
    assert len(call.asked) == 2


def test_variable_alone_lets_the_model_go_on_and_with_words_it_does_not(kit):
    call = begin(kit)
    call.say("my name is ada")
    answer(call, ("set_variable", '{"key": "name", "value": "Ada"}'))
    assert call.dialogue.variables["name"] == "Ada" and len(call.asked) == 2
    assert [prompt.role for prompt in call.asked[-1].prompts[-2:]] == ["assistant", "tool"]
    answer(call, ("set_variable", '{"key": "age", "value": "36"}'), text="Thank you.")
    call.wait(2)
    assert call.dialogue.variables["age"] == "36" and len(call.asked) == 2


def test_hold_takes_the_caller_back_by_itself_and_the_model_speaks(kit):
    call = begin(kit)
    call.say("can you check")
    answer(call, ("hold_call", '{"seconds": 20}'), text="One moment.")
    call.wait(1)
    assert call.commands_of(commands.Hold)
    call.hear(events.Hold(on_hold=True, initiator="system"))
    call.wait(15)
    assert not call.commands_of(commands.Unhold)
    call.wait(10)
    assert len(call.commands_of(commands.Unhold)) == 1
    call.hear(events.Hold(on_hold=False, initiator="system"))
    assert len(call.asked) == 2


def test_language_is_switched_once_it_is_listed(kit):
    call = begin(kit)
    call.say("sprechen sie deutsch")
    answer(call, ("switch_language", '{"code": "de-DE"}'), text="Ja, gerne.")
    call.wait(2)
    assert call.effects_of(SwitchLanguage) == [SwitchLanguage("de-DE", "thorsten")]
    call.say("gut")
    assert "Speak de-DE from here on." in call.asked[-1].prompts[0].text
    call.model('<language code="fr"/>Oui.')
    call.wait(2)
    assert len(call.effects_of(SwitchLanguage)) == 1 and "language dropped" in call.notes


def test_http_tool_is_filled_in_and_its_selected_answer_is_told_and_kept(kit):
    call = begin(kit)
    call.say("where is order 7")
    answer(call, ("order_status", '{"order": "7/8"}'))
    (sent,) = call.effects_of(SendToolRequest)
    assert (sent.tool, sent.request.url, sent.timeout_s) == ("order_status", "https://shop.example/orders/7%2F8", 10.0)
    call.give(ToolAnswered(sent.id, 200, '{"state": "on its way", "secret": 1}'))
    assert call.asked[-1].prompts[-1].text == "on its way"
    assert call.dialogue.variables["state"] == "on its way"


def test_failed_request_and_http_error_reach_the_model_in_words(kit):
    call = begin(kit)
    call.say("where is order 7")
    answer(call, ("order_status", '{"order": "7"}'), ("order_status", '{"order": "8"}'))
    first, second = call.effects_of(SendToolRequest)
    call.give(ToolAnswered(second.id, 404, "no such order"))
    assert len(call.asked) == 1, "parallel calls are awaited together"
    call.give(ToolAnswered(first.id, error="shop.example is not a host that the playbook lists"))
    assert [prompt.text for prompt in call.asked[-1].prompts if prompt.role == "tool"] == [
        "Error: shop.example is not a host that the playbook lists",
        "Error: HTTP 404: no such order",
    ]
    assert "state" not in call.dialogue.variables


def test_result_that_does_not_wait_ends_the_sentence_that_sounds(kit):
    call = begin(kit)
    call.say("where is order 7")
    answer(call, ("order_status", '{"order": "7"}'))
    (sent,) = call.effects_of(SendToolRequest)
    call.say("are you open")
    call.model("Yes, we are open from nine to six on every day but Sunday.")
    call.wait(1)
    call.give(ToolAnswered(sent.id, 200, '{"state": "sent"}'))
    assert call.commands_of(commands.Interrupt)[-1].graceful
    assert len(call.asked) == 3 and "sent" in call.asked[-1].prompts[-2].text + call.asked[-1].prompts[-1].text


def test_tool_whose_result_is_for_the_next_turn_makes_nobody_wait(kit):
    call = begin(kit)
    call.say("write that down")
    answer(call, ("note", "{}"), text="I have noted it.")
    (sent,) = call.effects_of(SendToolRequest)
    call.wait(3)
    assert call.dialogue.state == "listening"
    call.give(ToolAnswered(sent.id, 200, "kept"))
    assert len(call.asked) == 1
    call.say("thanks")
    assert "kept" in " ".join(prompt.text for prompt in call.asked[-1].prompts)


def test_tools_that_come_later_are_offered_from_then_on_and_a_taken_name_is_left_out(kit):
    call = begin(kit, calls_functions=False)
    call.give(ToolsFound((Tool("stock", "How much is left."), Tool("note"))))
    call.say("hello")
    assert names(call) == ["order_status", "note", "stock"] and "tool left out" in call.notes
