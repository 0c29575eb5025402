"""The caller waits for the agent, or the agent for the caller: okay, are you there, one moment, sorry?"""

from __future__ import annotations

from typing import Any

import pytest

from active_call.agent.effects import CancelTool, ModelDone, RunTool, ToolCall, ToolFinished
from active_call.agent.reply.model_answers import MAX_TOOL_ROUNDS
from active_call.agent.tools.registry import Tool
from active_call.contract import events

MODEL = "---\nllm: {provider: openai}\nfollowup: {timeout: 6s, max: 2}\n---\nYou sell flowers.\n"
SCRIPT = """---
llm: {provider: script}
greeting: Hello.
---
## opening hours
From nine to six. <set_var key="asked" value="yes"/>

## what did you say about delivery
It is free.

## *
I did not understand.
"""
LOOK_UP = Tool("look_up", say_meanwhile="I am looking.")
QUIETLY = Tool("check")


@pytest.fixture
def call(start: Any) -> Any:
    return start(MODEL, tools=(LOOK_UP, QUIETLY))


def tool(call: Any, name: str, run_id: str = "c1", arguments: str = "{}") -> None:
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, run_id, name, arguments))
    call.give(ModelDone(reply))


@pytest.mark.parametrize("said", ["okay", "thank you", "sure, take your time", "uh-huh"])
def test_okay_does_not_cancel_the_tool_that_the_caller_waits_for(call: Any, said: str) -> None:
    call.say("where is my order")
    tool(call, "look_up")
    call.wait(3)
    call.say(said)
    call.wait(1)
    assert len(call.asked) == 1 and not call.effects_of(CancelTool)
    call.give(ToolFinished("c1", "on its way"))
    assert len(call.asked) == 2 and ("user", said) in call.transcript
    call.model("It is on its way.")
    call.wait(3)
    assert call.heard[-1] == "It is on its way."


def test_are_you_there_over_the_filler_is_answered_and_the_tool_goes_on(call: Any) -> None:
    call.say("where is my order")
    tool(call, "look_up")
    call.wait(0.3)
    call.say("hello are you there")
    call.wait(4)
    assert call.heard[-1] == "Yes, I am here. One moment, please." and not call.effects_of(CancelTool)
    call.give(ToolFinished("c1", "on its way"))
    call.model("It is on its way.")
    call.wait(3)
    assert call.heard[-1] == "It is on its way." and len(call.asked) == 2


def test_another_question_still_cancels_it(call: Any) -> None:
    call.say("where is my order")
    tool(call, "look_up")
    call.wait(3)
    call.say("and when are you open")
    assert call.effects_of(CancelTool) and len(call.asked) == 2


def test_tool_without_a_word_about_it_gets_a_built_in_filler(call: Any) -> None:
    call.say("where is my order")
    tool(call, "check")
    call.wait(1.6)
    assert call.spoken == ["One moment, please."]


def test_model_alone_or_a_tool_with_its_own_words_gets_none(call: Any) -> None:
    call.say("where is my order")
    call.wait(2)
    assert not call.spoken
    tool(call, "look_up")
    call.wait(3)
    assert call.spoken == ["I am looking."]


def test_empty_filler_means_none(start: Any) -> None:
    call = start(MODEL.replace("openai}", "openai, filler: ''}"), tools=(QUIETLY,))
    call.say("where is my order")
    tool(call, "check")
    call.wait(3)
    assert not call.spoken


def test_what_a_tool_says_meanwhile_is_said_once_a_turn(call: Any) -> None:
    call.say("where is my order")
    for n in range(3):
        tool(call, "look_up", f"c{n}", f'{{"n": {n}}}')
        call.wait(2)
        call.give(ToolFinished(f"c{n}", "unknown"))
    assert call.spoken.count("I am looking.") == 1
    call.model("I do not know.")
    call.wait(3)
    call.say("and the other one")
    tool(call, "look_up", "d")
    assert call.spoken.count("I am looking.") == 2


def test_equal_calls_are_refused_after_three_and_the_caller_gets_an_apology(call: Any) -> None:
    call.say("where is my order")
    for n in range(3 * MAX_TOOL_ROUNDS):
        if "model failed" not in call.notes:
            tool(call, "look_up", f"c{n}")
            call.wait(1)
            call.give(ToolFinished(f"c{n}", "unknown"))
    assert len(call.effects_of(RunTool)) == 3
    assert "called 3 times already" in str(call.asked[-1].prompts)
    call.wait(8)
    assert call.heard[-1].startswith("I am sorry, something went wrong")


def test_caller_who_asks_for_time_is_not_asked_at_once_whether_they_are_there(call: Any) -> None:
    call.say("one moment please, I need my glasses")
    call.model("Of course, take your time.")
    call.wait(25)
    assert len(call.asked) == 1
    call.wait(10)
    assert "said nothing" in call.asked[-1].prompts[-1].text
    call.model("Are you there?")
    call.wait(9)
    assert len(call.asked) == 3, "from then on as the playbook says"


def test_script_repeats_what_it_said_without_doing_it_again(start: Any) -> None:
    call = start(SCRIPT)
    call.wait(2)
    call.say("opening hours")
    call.wait(3)
    n_set = len(call.effects)
    call.say("sorry, can you repeat that")
    call.wait(3)
    assert call.heard[-1] == "From nine to six."
    assert "SetVar" not in repr(call.effects[n_set:])
    call.say("what did you say about delivery")
    call.wait(3)
    assert call.heard[-1] == "It is free.", "an entry of the playbook wins"


def test_script_grants_time(start: Any) -> None:
    call = start(SCRIPT)
    call.wait(2)
    call.say("just a moment please")
    call.wait(3)
    assert call.heard[-1] == "Of course."


def test_short_reply_is_cut_if_the_caller_goes_on_as_it_begins(call: Any) -> None:
    call.say("I have a problem with my order")
    call.model("Yes of course.")
    call.wait(0.1)
    call.hear(events.Speaking())
    assert call.heard == [" -"], "nobody answers that fast: the turn was not over"
    call.wait(1)
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text="it came broken"))
    assert call.asked[-1].prompts[-1].text == "I have a problem with my order it came broken"


def test_noise_as_a_short_reply_begins_does_not_lose_the_reply(call: Any) -> None:
    call.say("I have a problem with my order")
    call.model("Yes of course.")
    call.wait(0.1)
    call.hear(events.Speaking())
    call.wait(0.2)
    call.hear(events.Silence())
    call.hear(events.AsrFinal(text=""))
    call.wait(3)
    assert call.heard[-1] == "Yes of course."
