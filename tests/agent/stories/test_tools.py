"""A caller, a model and its tools: results, errors, interruptions, and tools that are late."""

from __future__ import annotations

import pytest

from active_call.agent.effects import AskModel, CancelTool, HttpAnswered, ModelDone, RunTool, SendHttp, ToolCall, ToolFinished
from active_call.agent.reply.model_answers import MAX_TOOL_ROUNDS
from active_call.agent.tools.registry import Tool
from active_call.contract import events

MODEL = "---\nllm: {provider: openai}\n---\nYou sell flowers.\n"
LOOK_UP = Tool("look_up", "Look up a price.", {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]})
BOOK = Tool("book", say_meanwhile="One moment, please.", cancellable=False, timeout_s=20)


@pytest.fixture
def call(start):
    return start(MODEL, tools=(LOOK_UP, BOOK))


def tool_call(call, name: str, arguments: str = "", *, run_id: str = "c1", done: bool = True) -> None:
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, run_id, name, arguments))
    if done:
        call.give(ModelDone(reply))


def last_prompts(call) -> list[tuple[str, str]]:
    return [(prompt.role, prompt.text) for prompt in call.asked[-1].prompts]


def test_model_is_told_the_tools_and_asked_again_with_the_result(call):
    call.say("how much are roses")
    assert [schema.name for schema in call.asked[-1].tools] == ["look_up", "book"]
    tool_call(call, "look_up", '{"item": "roses"}')
    assert call.effects_of(RunTool) == [RunTool("c1", "look_up", {"item": "roses"}, LOOK_UP.timeout_s)]
    assert call.dialogue.state == "thinking"
    call.wait(1)
    call.give(ToolFinished("c1", "two dollars"))
    assert last_prompts(call)[-2:] == [("assistant", ""), ("tool", "two dollars")]
    assert call.asked[-1].prompts[-2].tool_calls[0].name == "look_up"
    call.model("Two dollars each.")
    call.wait(5)
    assert call.heard[-1] == "Two dollars each."


def test_agent_says_what_the_tool_says_meanwhile_unless_the_model_has_spoken(call):
    call.say("book a table")
    tool_call(call, "book")
    assert call.spoken[-1] == "One moment, please."
    call.wait(5)
    assert call.heard[-1] == "One moment, please."
    assert call.dialogue.state == "thinking"
    call.give(ToolFinished("c1", "table 4"))
    call.model("You have table four.")
    call.say("book another")
    call.model("Let me see", done=False)
    tool_call(call, "book", run_id="c2")
    assert call.spoken[-1] == "Let me see"


def test_unknown_tool_and_wrong_arguments_reach_the_model_in_words(call):
    call.say("hello")
    tool_call(call, "cook")
    assert "there is no tool 'cook'" in last_prompts(call)[-1][1]
    tool_call(call, "look_up", '{"item": 4}', run_id="c2")
    assert last_prompts(call)[-1] == ("tool", "Error: item must be string")
    assert call.effects_of(RunTool) == []


def test_failed_tool_reaches_the_model_in_words(call):
    call.say("roses?")
    tool_call(call, "look_up", '{"item": "roses"}')
    call.give(ToolFinished("c1", error="the price list is gone"))
    assert last_prompts(call)[-1] == ("tool", "Error: the price list is gone")


def test_parallel_calls_are_awaited_together(call):
    call.say("roses and lilies?")
    tool_call(call, "look_up", '{"item": "roses"}', done=False)
    tool_call(call, "look_up", '{"item": "lilies"}', run_id="c2")
    n_asked = len(call.asked)
    call.give(ToolFinished("c2", "three"))
    assert len(call.asked) == n_asked
    call.give(ToolFinished("c1", "two"))
    assert len(call.asked) == n_asked + 1
    assert [text for role, text in last_prompts(call) if role == "tool"] == ["two", "three"]


def test_tool_that_is_not_cancellable_outlives_an_interruption_and_its_result_is_told(call):
    call.say("book a table")
    tool_call(call, "book")
    call.wait(0.7)
    call.say("are you open today")
    assert call.effects_of(CancelTool) == []
    call.give(ToolFinished("c1", "table 4"))
    n_asked = len(call.asked)
    call.model("Yes, we are.")
    call.wait(5)
    assert call.heard[-1] == "Yes, we are."
    assert len(call.asked) == n_asked + 1
    assert "table 4" in [prompt.text for prompt in call.asked[-1].prompts if "book" in prompt.text][-1]
    call.model("And your table is booked.")
    call.wait(5)
    assert call.heard[-1] == "And your table is booked."


def test_result_that_comes_in_silence_is_spoken_about_at_once(call):
    call.say("book a table")
    tool_call(call, "book")
    call.say("are you open today")
    call.model("Yes, we are.")
    call.wait(5)
    assert call.dialogue.state == "listening"
    call.give(ToolFinished("c1", "table 4"))
    assert call.dialogue.state == "thinking"
    assert "table 4" in last_prompts(call)[-1][1]


def test_result_that_comes_while_the_caller_speaks_waits_for_the_end(call):
    call.say("book a table")
    tool_call(call, "book")
    call.say("thank you")
    call.model("You are welcome.")
    call.wait(5)
    call.hear(events.Speaking())
    n_asked = len(call.asked)
    call.give(ToolFinished("c1", "table 4"))
    assert len(call.asked) == n_asked
    call.wait(0.5)
    call.hear(events.Silence(duration=500))
    call.hear(events.AsrFinal(text="hello"))
    assert len(call.asked) == n_asked + 1
    assert "table 4" in " ".join(text for _, text in last_prompts(call))


def test_cancellable_tool_is_cancelled_when_the_caller_takes_the_turn(call):
    call.say("roses?")
    tool_call(call, "look_up", '{"item": "roses"}')
    call.say("no, lilies")
    assert call.effects_of(CancelTool) == [CancelTool("c1")]
    assert "cancelled" in [text for role, text in last_prompts(call) if role == "tool"][-1]
    n_asked = len(call.asked)
    call.give(ToolFinished("c1", "two"))
    assert len(call.asked) == n_asked
    assert "tool result dropped" in call.notes


def test_noise_cancels_no_tool_and_the_result_is_still_spoken_about(call):
    call.say("roses?")
    call.model("Let me look that up for you in our list. ", done=False)
    tool_call(call, "look_up", '{"item": "roses"}')
    call.wait(1)
    call.hear(events.Speaking())
    assert call.overlapped_at is not None
    assert call.dialogue.turn == "undecided"
    call.give(ToolFinished("c1", "two"))
    call.wait(0.3)
    call.hear(events.Silence(duration=300))
    call.hear(events.AsrFinal(text=""))
    assert call.effects_of(CancelTool) == []
    assert call.spoken[-1] == "Let me look that up for you in our list."
    call.wait(5)
    assert last_prompts(call)[-1] != ("user", "roses?")
    assert "two" in " ".join(text for _, text in last_prompts(call))


def test_tool_without_a_result_is_given_up(call):
    call.say("book a table")
    tool_call(call, "book")
    call.wait(40)
    assert call.effects_of(CancelTool) == [CancelTool("c1")]
    assert last_prompts(call)[-1][1] == "Error: no answer in time" or ("tool", "Error: no answer in time") in [
        (prompt.role, prompt.text) for prompt in call.asked[1].prompts
    ]


def test_id_that_a_server_uses_again_gets_one_of_its_own(call):
    call.say("roses?")
    tool_call(call, "look_up", '{"item": "roses"}')
    call.give(ToolFinished("c1", "two"))
    tool_call(call, "look_up", '{"item": "lilies"}')
    assert [run.id for run in call.effects_of(RunTool)] == ["c1", "c1.2"]
    call.give(ToolFinished("c1.2", "three"))
    assert [text for role, text in last_prompts(call) if role == "tool"] == ["two", "three"]


def test_tool_call_of_an_older_reply_starts_nothing(call):
    call.say("roses?")
    old = call.asked[-1].reply
    call.say("no")
    call.give(ToolCall(old, "c9", "book", ""))
    assert call.effects_of(RunTool) == []


def test_model_that_only_calls_tools_is_asked_without_them_in_the_end(call):
    call.say("roses?")
    for n in range(MAX_TOOL_ROUNDS):
        assert call.asked[-1].tools
        tool_call(call, "look_up", '{"item": "roses"}', run_id=f"n{n}")
        call.give(ToolFinished(f"n{n}", "two"))
    assert call.asked[-1].tools == ()


@pytest.mark.parametrize("name", ["look_up", "nope"])
def test_model_that_calls_tools_even_without_any_is_not_asked_for_ever(call, name):
    call.say("roses?")
    n_spoken = len(call.spoken)
    for n in range(3 * MAX_TOOL_ROUNDS):
        tool_call(call, name, '{"item": "roses"}', run_id=f"n{n}")
        call.give(ToolFinished(f"n{n}", "two"))
    assert len(call.effects_of(AskModel)) == MAX_TOOL_ROUNDS + 1
    assert [text for text in call.spoken[n_spoken:] if "sorry" in text] == ["I am sorry, something went wrong on my side."]
    call.wait(5)
    call.say("and tulips?")
    assert call.asked[-1].tools
    call.model("Three dollars.")
    assert call.spoken[-1] == "Three dollars."


def test_model_that_asks_the_web_again_and_again_is_not_asked_for_ever(call):
    call.say("the weather?")
    for _ in range(3 * MAX_TOOL_ROUNDS):
        n_sent = len(call.effects_of(SendHttp))
        call.model('<http url="http://w/" set_var="weather"/>')
        if len(call.effects_of(SendHttp)) > n_sent:
            sent = call.effects_of(SendHttp)[-1]
            call.give(HttpAnswered(sent.reply, sent.request, "rain"))
    assert len(call.effects_of(AskModel)) == MAX_TOOL_ROUNDS + 1


def test_http_answer_to_an_interrupted_reply_is_kept_and_told(call):
    call.say("the weather?")
    call.model('I will look it up for you. <http url="http://w/" set_var="weather"/>')
    call.wait(1)
    sent = call.effects_of(SendHttp)[-1]
    call.say("and roses?")
    call.give(HttpAnswered(sent.reply, sent.request, "rain"))
    assert call.dialogue.variables["weather"] == "rain"
    call.model("Two dollars.")
    call.wait(5)
    assert "HTTP Response: rain" in [prompt.text for prompt in call.asked[-1].prompts]
    assert len(call.effects_of(AskModel)) == 3


def test_hangup_cancels_cancellable_tools_only(call):
    call.say("roses and a table")
    tool_call(call, "look_up", '{"item": "roses"}', done=False)
    tool_call(call, "book", run_id="c2")
    call.hear(events.Hangup())
    assert call.effects_of(CancelTool) == [CancelTool("c1")]
