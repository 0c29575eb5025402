"""A caller and a realtime model, as scripted events."""

from __future__ import annotations

import pytest

from active_call.agent.effects import (
    AgentEffect,
    AgentInput,
    CancelTool,
    EmitEvent,
    FromRealtime,
    Heard,
    Note,
    PausedOnVoice,
    PauseOnVoice,
    PauseReply,
    Perform,
    ResumeReply,
    RunTool,
    ToolFinished,
    ToRealtime,
)
from active_call.agent.items import AgentItem, SystemItem, ToolResultItem, UserItem
from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.realtime.actions import OFFERED
from active_call.agent.realtime.conversation import RealtimeConversation
from active_call.agent.realtime.events import (
    AddItem,
    AgentSound,
    AgentText,
    CallerBegan,
    CallerEnded,
    CallerText,
    CancelResponse,
    CloseSession,
    CreateResponse,
    FunctionCall,
    ItemDone,
    OpenSession,
    ResponseDone,
    SessionFailed,
    SessionOpened,
    SetInstructions,
    TruncateItem,
)
from active_call.agent.reply.model_answers import MAX_TOOL_ROUNDS
from active_call.agent.tools.builtins import builtin_tools
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.contract import commands, events

PLAYBOOK = """---
llm: {provider: openai}
greeting: Good day.
followup: {timeout: 3000, max: 1}
---
You sell flowers.
# Scene: shop
<dtmf digit="1" action="goto" scene="news"/>
<dtmf digit="2" action="hangup"/>
The shop.
# Scene: news
The news.
"""
TOOLS = ToolRegistry([Tool("look_up"), Tool("book", cancellable=False)])


class Line:
    """A conversation, and what it has done."""

    def __init__(self, text: str = PLAYBOOK, *, is_open: bool = True, tools: ToolRegistry = TOOLS) -> None:
        self.conversation = RealtimeConversation(parse_playbook(text, file="p.md", environment={}), {}, {}, tools=tools)
        self.now = 0.0
        self.confirms = True
        """A cancelled answer is over at once."""
        self.effects: list[AgentEffect] = self.conversation.start(0.0)
        if is_open:
            self.model(SessionOpened())
            self.call(events.MediaReady())

    def give(self, item: AgentInput) -> None:
        new = self.conversation.handle(item, self.now)
        self.effects += new
        if self.confirms and ToRealtime(CancelResponse()) in new:
            self.model(ResponseDone())

    def model(self, *happened) -> None:
        for event in happened:
            self.give(FromRealtime(event))

    def call(self, event: events.Event) -> None:
        self.give(Heard(event))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.conversation.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.effects += self.conversation.handle_timeout(self.now)
        self.now = end

    def answer(self, item: str, text: str, ms: int, *, done: bool = True) -> None:
        """The model answers, and its sound begins to be heard."""
        self.model(AgentText(item, text), AgentSound(item, ms))
        if done:
            self.model(ItemDone(item), ResponseDone())
        self.call(events.TrackStart(play_id=item))

    def turn(self, text: str) -> None:
        self.model(CallerBegan(), CallerEnded(), CallerText(text))

    def orders(self, cls=object) -> list:
        return [effect.order for effect in self.effects if isinstance(effect, ToRealtime) and isinstance(effect.order, cls)]

    def commands(self, cls) -> list:
        return [effect.command for effect in self.effects if isinstance(effect, Perform) and isinstance(effect.command, cls)]

    @property
    def said(self) -> list:
        return [item for item in self.conversation.history if isinstance(item, UserItem | AgentItem)]

    @property
    def state(self) -> str:
        return self.conversation.state


@pytest.fixture
def line() -> Line:
    return Line()


def test_session_opens_with_instructions_and_tools_and_the_model_greets():
    line = Line(is_open=False)
    (opened,) = line.orders(OpenSession)
    assert "You sell flowers." in opened.instructions and "The shop." in opened.instructions
    assert [tool.name for tool in opened.tools] == ["look_up", "book"]
    line.call(events.MediaReady())
    assert line.orders(CreateResponse) == []
    line.model(SessionOpened())
    assert "Good day." in line.orders(AddItem)[0].item.text
    assert len(line.orders(CreateResponse)) == 1
    assert line.state == "thinking"


def test_answer_that_is_heard_to_its_end_stands_whole_in_the_history(line):
    line.answer("i1", "Good day to you.", 1500)
    assert line.state == "speaking"
    line.wait(1.5)
    line.call(events.TrackEnd(play_id="i1"))
    assert line.state == "listening"
    assert line.said == [AgentItem("Good day to you.")]
    line.turn("Roses, please.")
    assert line.state == "thinking"
    assert line.said[-1] == UserItem("Roses, please.")


def test_interruption_truncates_the_item_where_it_was_heard(line):
    line.confirms = False
    line.answer("i1", "one two three four five", 2400, done=False)
    line.wait(1)
    line.model(CallerBegan())
    assert line.commands(commands.Interrupt) and line.orders(CancelResponse)
    assert line.orders(TruncateItem) == []
    line.call(events.Interruption(play_id="i1", current=1000, total_duration=2400))
    assert line.orders(TruncateItem) == [TruncateItem("i1", 1000)]
    assert line.said == [AgentItem("one two", is_interrupted=True)]
    line.model(AgentSound("i1", 500), AgentText("i1", " six"), ResponseDone())
    assert line.state == "listening"
    line.model(CallerEnded())
    line.answer("i2", "Yes?", 400)
    assert line.state == "speaking"


def test_interruption_whose_news_does_not_come_counts_as_not_heard(line):
    line.answer("i1", "one two", 800, done=False)
    line.model(CallerBegan())
    line.wait(1)
    assert line.orders(TruncateItem) == [TruncateItem("i1", 0)]
    assert line.said == []


def test_sound_of_a_cancelled_answer_is_not_played(line):
    line.turn("Hello?")
    line.confirms = False
    line.model(CallerBegan())
    assert line.orders(CancelResponse)
    line.model(AgentSound("i7", 300))
    assert line.state == "listening"
    line.model(ResponseDone(), CallerEnded(), AgentSound("i8", 300))
    assert line.state == "speaking"


def test_more_than_was_made_is_never_heard(line):
    line.answer("i1", "one two three", 900, done=False)
    line.model(CallerBegan())
    line.call(events.Interruption(play_id="i1", current=5000))
    assert line.orders(TruncateItem) == [TruncateItem("i1", 900)]


def test_client_that_stops_the_agent_truncates_too(line):
    line.answer("i1", "one two three four", 2000)
    line.call(events.Interruption(play_id="i1", current=1000))
    assert line.orders(TruncateItem) == [TruncateItem("i1", 1000)]
    assert line.state == "listening"


def test_interruption_none_lets_the_agent_finish():
    line = Line(PLAYBOOK.replace("llm:", "interruption: {strategy: none}\nllm:"))
    line.answer("i1", "one two", 800)
    line.model(CallerBegan())
    assert line.commands(commands.Interrupt) == []
    assert line.state == "speaking"


def test_tool_runs_and_its_result_makes_the_model_speak(line):
    line.turn("Roses?")
    line.model(FunctionCall("c1", "look_up", "{}"), ResponseDone())
    assert [effect for effect in line.effects if isinstance(effect, RunTool)] == [RunTool("c1", "look_up", {}, 30.0)]
    assert line.state == "thinking"
    n_asked = len(line.orders(CreateResponse))
    line.give(ToolFinished("c1", "two dollars"))
    assert line.orders(AddItem)[-1].item == ToolResultItem("c1", "two dollars")
    assert len(line.orders(CreateResponse)) == n_asked + 1


def test_result_waits_until_the_answer_under_way_was_heard(line):
    line.turn("Book a table")
    line.model(FunctionCall("c1", "book", "{}"))
    line.answer("i1", "One moment.", 800)
    n_asked = len(line.orders(CreateResponse))
    line.give(ToolFinished("c1", "table 4"))
    assert len(line.orders(CreateResponse)) == n_asked
    line.call(events.TrackEnd(play_id="i1"))
    assert len(line.orders(CreateResponse)) == n_asked + 1


def test_tool_that_is_not_cancellable_outlives_the_caller_and_the_other_does_not(line):
    line.turn("Roses and a table")
    line.model(FunctionCall("c1", "look_up", "{}"), FunctionCall("c2", "book", "{}"), ResponseDone())
    line.model(CallerBegan())
    assert [effect.id for effect in line.effects if isinstance(effect, CancelTool)] == ["c1"]
    assert line.orders(AddItem)[-1].item == ToolResultItem("c1", is_cancelled=True)
    n_asked = len(line.orders(CreateResponse))
    line.give(ToolFinished("c2", "table 4"))
    assert line.orders(AddItem)[-1].item == ToolResultItem("c2", "table 4")
    assert len(line.orders(CreateResponse)) == n_asked


def test_unknown_tool_is_answered_in_words(line):
    line.turn("Hello")
    line.model(FunctionCall("c1", "cook", "{}"), ResponseDone())
    assert "no tool 'cook'" in line.orders(AddItem)[-1].item.text
    assert line.orders()[-1] == CreateResponse()


@pytest.mark.parametrize("name", ["look_up", "cook"])
def test_model_that_only_calls_tools_is_not_asked_for_ever(line, name):
    line.turn("Roses?")
    n_asked = len(line.orders(CreateResponse))
    for number in range(3 * MAX_TOOL_ROUNDS):
        line.model(FunctionCall(f"c{number}", name, "{}"), ResponseDone())
        line.give(ToolFinished(f"c{number}", "two dollars"))
    assert len(line.orders(CreateResponse)) == n_asked + MAX_TOOL_ROUNDS
    assert line.state == "listening"
    line.turn("And tulips?")
    line.model(FunctionCall("d1", name, "{}"), ResponseDone())
    line.give(ToolFinished("d1", "three dollars"))
    assert len(line.orders(CreateResponse)) == n_asked + MAX_TOOL_ROUNDS + 1


def test_silence_of_the_caller_makes_the_model_speak_as_often_as_it_may():
    line = Line(PLAYBOOK.replace("greeting: Good day.\n", ""))
    line.wait(3.1)
    assert len(line.orders(CreateResponse)) == 1
    line.answer("i1", "Are you there?", 800)
    line.call(events.TrackEnd(play_id="i1"))
    line.wait(200)
    assert len(line.orders(CreateResponse)) == 1


def test_model_that_does_not_answer_leaves_the_turn_to_the_caller(line):
    line.turn("Hello")
    line.wait(11)
    assert line.state == "listening"
    assert any(isinstance(effect, Note) and effect.message == "model failed" for effect in line.effects)


@pytest.mark.parametrize("is_open", [False, True])
def test_session_that_fails_ends_the_call_with_the_error_reply(is_open):
    line = Line(is_open=is_open)
    line.model(SessionFailed("401"))
    (said,) = line.commands(commands.Tts)
    assert said.text
    assert [effect.event.error for effect in line.effects if isinstance(effect, EmitEvent) and isinstance(effect.event, events.Error)] == [
        "401"
    ]
    line.call(events.TrackEnd(play_id=said.play_id))
    assert [hangup.reason for hangup in line.commands(commands.Hangup)] == ["error"]


def test_session_that_does_not_open_fails():
    line = Line(is_open=False)
    line.call(events.MediaReady())
    line.wait(30)
    assert line.commands(commands.Tts) and line.commands(commands.Hangup)


def test_digits_change_the_scene_end_the_call_or_go_to_the_model(line):
    line.answer("i1", "one two", 800)
    line.call(events.Dtmf(digit="1"))
    assert "The news." in line.orders(SetInstructions)[-1].instructions
    line.call(events.Dtmf(digit="9"))
    assert line.orders(AddItem)[-1].item == UserItem("[pressed 9]")
    assert line.state == "thinking"


def test_digit_that_ends_the_call(line):
    line.call(events.Dtmf(digit="2"))
    assert [hangup.reason for hangup in line.commands(commands.Hangup)] == ["goodbye"]


def test_hold_waits_and_goes_on_after_it(line):
    line.answer("i1", "one two", 800)
    line.call(events.Hold(on_hold=True))
    assert line.state == "paused"
    line.call(events.Hold(on_hold=False))
    assert line.state == "speaking"
    assert not [*line.commands(commands.Pause), *line.commands(commands.Resume)]  # the call freezes what plays, and nobody else


def test_call_that_begins_on_hold_is_greeted_when_the_hold_is_over():
    line = Line(is_open=False)
    line.call(events.Hold(on_hold=True))
    line.model(SessionOpened())
    line.call(events.MediaReady())
    assert not line.orders(CreateResponse) and line.state == "paused"
    line.call(events.Hold(on_hold=False))
    assert len(line.orders(CreateResponse)) == 1
    line.call(events.Hold(on_hold=True))
    line.call(events.Hold(on_hold=False))
    assert len(line.orders(CreateResponse)) == 1


def test_caller_who_comes_back_from_a_transfer_is_spoken_to(line):
    line.call(events.Transfer(state="calling", target="x"))
    assert line.state == "away"
    line.call(events.Transfer(state="failed", target="x", code=486, reason="Busy", returned=True))
    assert "486" in line.orders(AddItem)[-1].item.text
    assert line.orders()[-1] == CreateResponse()


def test_data_from_outside_reaches_the_model(line):
    line.call(events.Custom(data={"a": 1}, sender="crm"))
    assert isinstance(line.orders(AddItem)[-1].item, SystemItem)


def test_close_writes_down_what_was_heard_and_closes_the_session(line):
    line.answer("i1", "one two three", 1200)
    line.effects += line.conversation.close(("i1", "one two"))
    assert line.said[-1] == AgentItem("one two", is_interrupted=True)
    assert line.orders()[-1] == CloseSession()
    assert line.state == "ended"
    assert line.conversation.close(None) == []


@pytest.fixture
def acting() -> Line:
    """A model that is offered the agent's actions."""
    book = parse_playbook(PLAYBOOK, file="p.md", environment={})
    found = make_conversation(book_with_realtime(), {}, {}, has_realtime=True)
    opened = next(effect.order for effect in found.start(0.0) if isinstance(effect, ToRealtime))
    assert [tool.name for tool in opened.tools] == list(OFFERED)
    return Line(tools=ToolRegistry(builtin_tools(book)))


def book_with_realtime():
    return parse_playbook(PLAYBOOK.replace("---\nYou", "realtime: {provider: x}\n---\nYou"), file="p.md", environment={})


def test_hangup_that_the_model_calls_waits_until_its_goodbye_was_heard(acting):
    acting.turn("That is all")
    acting.model(FunctionCall("c1", "hangup_call", '{"reason": "done"}'))
    acting.answer("i1", "Goodbye.", 800)
    assert acting.commands(commands.Hangup) == []
    assert acting.orders(AddItem)[-1].item.id == "c1"
    acting.call(events.TrackEnd(play_id="i1"))
    assert [command.reason for command in acting.commands(commands.Hangup)] == ["done"]


def test_transfer_scene_and_digits_are_carried_out_without_words_too(acting):
    acting.turn("The news")
    acting.model(
        FunctionCall("c1", "send_digits", '{"digits": "1#"}'), FunctionCall("c2", "goto_scene", '{"scene": "news"}'), ResponseDone()
    )
    assert acting.commands(commands.Dtmf)[0].digits == "1#"
    assert "The news." in acting.orders(SetInstructions)[-1].instructions and acting.orders()[-1] == CreateResponse()
    acting.model(FunctionCall("c3", "transfer_call", '{"to": "sip:desk@x"}'), ResponseDone())
    assert acting.commands(commands.Refer)[0].callee == "sip:desk@x"


def test_caller_who_speaks_on_stops_the_hangup(acting):
    acting.turn("That is all")
    acting.model(FunctionCall("c1", "hangup_call", "{}"))
    acting.answer("i1", "Goodbye.", 800)
    acting.model(CallerBegan())
    acting.call(events.Interruption(play_id="i1", subtitle=""))
    acting.model(CallerEnded(), CallerText("wait, one more thing"))
    acting.answer("i2", "Yes?", 500)
    acting.call(events.TrackEnd(play_id="i2"))
    assert acting.commands(commands.Hangup) == []


def test_variable_without_words_lets_the_model_go_on(acting):
    acting.turn("I am Ada")
    n_asked = len(acting.orders(CreateResponse))
    acting.model(FunctionCall("c1", "set_variable", '{"key": "name", "value": "Ada"}'), ResponseDone())
    assert acting.commands(commands.SetVar) == [commands.SetVar(key="name", value="Ada")]
    assert len(acting.orders(CreateResponse)) == n_asked + 1


def ends(line: Line) -> list[str]:
    return [effect.event.outcome for effect in line.effects if isinstance(effect, EmitEvent) and isinstance(effect.event, events.ReplyEnd)]


def test_reply_of_a_realtime_model_ends_once_heard_or_interrupted() -> None:
    line = Line()
    line.model(AgentSound("i1", 900), AgentText("i1", "Good day."), ItemDone("i1"), ResponseDone())
    assert ends(line) == []
    line.call(events.TrackStart(play_id="i1"))
    line.call(events.TrackEnd(play_id="i1"))
    assert ends(line) == ["heard"]
    line.model(CallerBegan(), CallerEnded(), AgentSound("i2", 2000), AgentText("i2", "Roses and tulips."))
    line.call(events.TrackStart(play_id="i2"))
    line.model(CallerBegan())
    line.call(events.Interruption(play_id="i2", current=400))
    assert ends(line) == ["heard", "interrupted"]


def sounding(line: Line, ms: int = 9000) -> None:
    """The model's greeting is being heard."""
    line.model(AgentSound("i1", ms), AgentText("i1", "Good day and welcome to all of our flowers."), ItemDone("i1"), ResponseDone())
    line.call(events.TrackStart(play_id="i1"))


def pauses(line: Line) -> list[AgentEffect]:
    return [effect for effect in line.effects if isinstance(effect, PauseReply | ResumeReply | PauseOnVoice)]


def test_voice_pauses_the_model_and_a_turn_of_the_session_stops_it() -> None:
    line = Line()
    assert pauses(line) == []
    sounding(line)
    assert pauses(line) == [PauseOnVoice(32, 1000)]
    line.call(events.Speaking())
    line.give(PausedOnVoice())
    assert [type(effect) for effect in pauses(line)[1:]] == [PauseReply, PauseOnVoice]
    line.wait(0.4)
    line.model(CallerBegan())
    performed = [effect for effect in line.effects if isinstance(effect, Perform | ResumeReply)]
    assert isinstance(performed[-2], Perform) and isinstance(performed[-2].command, commands.Interrupt)
    assert isinstance(performed[-1], ResumeReply), "what is said next must sound"


def test_noise_lets_the_model_go_on_at_its_sample_and_the_next_voice_pauses_again() -> None:
    line = Line()
    sounding(line)
    line.call(events.Speaking())
    line.give(PausedOnVoice())
    line.wait(0.3)
    line.call(events.Silence())
    line.wait(0.5)
    assert not any(isinstance(effect, ResumeReply) for effect in pauses(line))
    line.wait(0.2)
    assert [type(effect) for effect in pauses(line)][-2:] == [ResumeReply, PauseOnVoice]
    assert pauses(line)[-1] == PauseOnVoice(32, 1000)
    assert not any(isinstance(effect, Perform) and isinstance(effect.command, commands.Interrupt) for effect in line.effects)


def test_session_that_does_not_hear_the_caller_lets_the_model_go_on_in_two_seconds() -> None:
    line = Line()
    sounding(line)
    line.call(events.Speaking())
    line.wait(2.1)
    assert any(isinstance(effect, ResumeReply) for effect in pauses(line))


@pytest.mark.parametrize("strategy", ["none", "asr"])
def test_voice_pauses_nothing_where_it_does_not_interrupt(strategy: str) -> None:
    line = Line(PLAYBOOK.replace("followup:", f"interruption: {{strategy: {strategy}}}\nfollowup:"))
    sounding(line)
    line.call(events.Speaking())
    assert pauses(line) == []
    line.give(PausedOnVoice())
    assert pauses(line) == [ResumeReply()]


def test_pause_of_the_media_process_after_the_item_is_over_ends_at_once() -> None:
    line = Line()
    sounding(line)
    line.call(events.TrackEnd(play_id="i1"))
    line.give(PausedOnVoice())
    assert isinstance(pauses(line)[-1], ResumeReply)


def spoken(line: Line) -> list[str]:
    return [effect.command.text for effect in line.effects if isinstance(effect, Perform) and isinstance(effect.command, commands.Tts)]


def test_caller_who_waits_for_a_realtime_model_hears_a_filler_an_apology_and_the_error_reply() -> None:
    line = Line(PLAYBOOK.replace("provider: openai", "provider: openai, filler: One moment., apology: Still looking., errorReply: Sorry."))
    sounding(line)
    line.call(events.TrackEnd(play_id="i1"))
    line.model(CallerBegan(), CallerEnded())
    line.wait(1.4)
    assert spoken(line) == []
    line.wait(0.2)
    assert spoken(line) == ["One moment."]
    line.wait(4.5)
    assert spoken(line) == ["One moment.", "Still looking."]
    line.wait(5)
    assert spoken(line)[2:3] == ["Sorry."]
    causes = [effect.fields["waits_for"] for effect in line.effects if isinstance(effect, Note) and effect.message == "dead air"]
    assert causes == ["model"]


def test_answer_of_a_realtime_model_in_time_needs_no_filler() -> None:
    line = Line(PLAYBOOK.replace("provider: openai", "provider: openai, filler: One moment."))
    sounding(line)
    line.call(events.TrackEnd(play_id="i1"))
    line.model(CallerBegan(), CallerEnded())
    line.wait(1.0)
    line.model(AgentSound("i2", 900), AgentText("i2", "Yes."), ItemDone("i2"), ResponseDone())
    line.call(events.TrackStart(play_id="i2"))
    line.call(events.TrackEnd(play_id="i2"))
    line.wait(2.5)
    assert spoken(line) == []
