"""One `replyEnd` for each reply: heard to its end, interrupted, or without anything to say."""

from __future__ import annotations

from collections.abc import Callable

from tests.agent.conftest import VirtualCall

from active_call.agent.effects import EmitEvent, ModelDone, ToolCall, ToolFinished
from active_call.agent.tools.registry import Tool
from active_call.contract import commands, events

MODEL = "---\ngreeting: Good day.\ninterruption: {strategy: asr}\n---\nYou take bookings.\n"
SCRIPT = "---\nllm: {provider: script}\ngreeting: Good day.\n---\n## open\nFrom nine to five.\n## bye\nGoodbye. <hangup/>\n## *\nPardon?\n"


def ends(call: VirtualCall) -> list[str]:
    return [effect.event.outcome for effect in call.effects_of(EmitEvent) if isinstance(effect.event, events.ReplyEnd)]


def test_reply_that_is_heard_to_its_end_is_over_once(start: Callable[..., VirtualCall]) -> None:
    call = start(SCRIPT)
    call.wait(0.3)
    assert ends(call) == []
    call.wait(5)
    assert ends(call) == ["heard"]
    call.say("open")
    call.wait(10)
    assert ends(call) == ["heard", "heard"]


def test_words_before_a_tool_and_about_its_result_are_one_reply(start: Callable[..., VirtualCall]) -> None:
    call = start(MODEL, tools=(Tool("look_up", say_meanwhile="One moment."),))
    call.wait(5)
    call.say("What is free on Friday?")
    call.wait(1)
    call.give(ToolCall(call.asked[-1].reply, "c1", "look_up", "{}"))
    call.give(ModelDone(call.asked[-1].reply))
    call.wait(5)
    assert call.heard[-1] == "One moment."
    assert ends(call) == ["heard"]
    call.give(ToolFinished("c1", "two o'clock"))
    call.model("Two o'clock is free.")
    call.wait(5)
    assert ends(call) == ["heard", "heard"]


def test_reply_that_the_caller_cuts_is_interrupted(start: Callable[..., VirtualCall]) -> None:
    call = start(MODEL)
    call.wait(5)
    call.say("Tell me everything please")
    call.model("There are very many things that I could tell you about this place of ours.")
    call.wait(1)
    call.hear(events.Speaking())
    call.hear(events.AsrDelta(index=9, text="no wait I meant"))
    call.hear(events.AsrFinal(index=9, text="no wait I meant Monday"))
    call.hear(events.Silence())
    call.wait(1)
    assert ends(call) == ["heard", "interrupted"]
    call.model("On Monday.")
    call.wait(5)
    assert ends(call) == ["heard", "interrupted", "heard"]


def test_reply_that_stands_still_and_goes_on_is_not_over(start: Callable[..., VirtualCall]) -> None:
    call = start(MODEL.replace("asr", "vad"))
    call.wait(5)
    call.say("Tell me everything please")
    call.model("There are very many things that I could tell you about this place of ours.")
    call.wait(1)
    call.hear(events.Speaking())
    call.wait(0.2)
    call.hear(events.Silence(duration=200))
    call.wait(1)
    assert ends(call) == ["heard"]
    call.wait(10)
    assert ends(call) == ["heard", "heard"]


def test_command_that_stops_the_reply_interrupts_it(start: Callable[..., VirtualCall]) -> None:
    call = start(MODEL)
    call.wait(0.4)
    call._perform(commands.Interrupt())  # a client's, of which the conversation hears by the event
    assert ends(call) == ["interrupted"]


def test_call_without_a_greeting_has_nothing_to_say(start: Callable[..., VirtualCall]) -> None:
    assert ends(start("---\n{}\n---\nYou take bookings.\n")) == ["nothing"]


def test_goodbye_is_over_when_it_was_heard_and_nothing_is_told_after_the_call(start: Callable[..., VirtualCall]) -> None:
    call = start(SCRIPT)
    call.wait(5)
    call.say("bye")
    call.wait(5)
    assert call.hangups
    assert ends(call) == ["heard", "heard"]
    call.hear(events.Hangup())
    assert ends(call) == ["heard", "heard"]
