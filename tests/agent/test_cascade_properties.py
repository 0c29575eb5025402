"""Whatever comes in whatever state: no exception, one voice at a time, and nothing that belongs to an older reply."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import (
    AgentEffect,
    AskModel,
    Heard,
    HttpAnswered,
    MaskInput,
    ModelDone,
    ModelText,
    Note,
    Perform,
    ReplyNumber,
    RunTool,
    SendHttp,
    ToolCall,
    ToolFinished,
)
from active_call.agent.items import ToolResultItem
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.tools.builtins import builtin_tools
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.agent.turn.floor import Holder
from active_call.agent.turn.phase import TABLE, Signal, State
from active_call.contract import commands, events
from searches import searching

BODY = """
## hello
Hi, you. How are you? <play file="a.wav"/> Nice.
## web
Wait. <http url="http://x" set_var="v"/> It says {{ v }}.
## bye
Bye. <hangup/>
## loop
<goto scene="b"/>
## pay
Now. <collect type="pin"/> Thank you, {{ pin }}.
## speak
<language code="de"/>Gut. <send_digits digits="1#"/> <hold seconds="3"/>
## *
What?
# Scene: a
<dtmf digit="1" action="goto" scene="b"/>
<dtmf digit="2" action="hangup"/>
Scene a. It is long. It is longer.
# Scene: b
<dtmf digit="3" action="transfer" target="sip:x@y"/>
Scene b. <goto scene="a"/>
"""
HEAD = (
    "---\ngreeting: Good day. Welcome.\nllm: {{provider: {provider}}}\nfollowup: {{timeout: 2000, max: 2}}\n"
    "interruption: {interruption}\nlanguages: [de]\n"
    "dtmfCollectors: {{pin: {{digits: 2, secret: true, retryTimes: 1}}, "
    "code: {{minDigits: 1, interruptible: true, finishKey: '9'}}}}\n---\n"
)

ARGUMENTS = {
    "goto_scene": '{"scene": "b"}', "collect_input": '{"type": "pin"}', "send_digits": '{"digits": "5"}', "hold_call": '{"seconds": 4}',
    "transfer_call": '{"to": "sip:a@b"}', "switch_language": '{"code": "de"}', "set_variable": '{"key": "a", "value": "b"}',
    "play_file": '{"file": "a.wav"}',
}  # fmt: skip
ACTIONS = (*ARGUMENTS, "hangup_call", "later")
PLAY_IDS = ["r1", "r2", "r3", "current", "current", "current", "a.wav"]
EVENTS = st.one_of(
    st.sampled_from(
        [
            events.MediaReady(), events.Speaking(), events.Speaking(is_filler=True), events.Silence(duration=300),
            events.AsrDelta(text="hel"),
            events.AsrDelta(text="uh"), events.AsrFinal(text="hello"), events.AsrFinal(text="web"), events.AsrFinal(text="bye"),
            events.AsrFinal(text="loop"), events.AsrFinal(text="pay"), events.AsrFinal(text="speak"), events.AsrFinal(text="four"),
            events.AsrFinal(text=""), events.AsrFinal(text="uh"), events.Dtmf(digit="1"),
            events.Dtmf(digit="2"),
            events.Dtmf(digit="3"), events.Dtmf(digit="9"), events.Hold(on_hold=True), events.Hold(on_hold=False),
            events.Transfer(state="failed", target="x"), events.Transfer(state="calling", target="x"),
            events.Transfer(state="completed", target="x", returned=True), events.Bridge(state="joined", target_session_id="y"),
            events.Bridge(state="parted", target_session_id="y"), events.Hold(on_hold=True, initiator="system"),
            events.Inactivity(), events.Answer(),
        ]
    ),
    st.builds(lambda p: events.TrackStart(play_id=p), st.sampled_from(PLAY_IDS)),
    st.builds(lambda p: events.TrackEnd(play_id=p), st.sampled_from(PLAY_IDS)),
    st.builds(lambda p, n: events.Interruption(play_id=p, position=n), st.sampled_from(PLAY_IDS), st.integers(0, 4)),
)  # fmt: skip
MODEL_TEXTS = [
    "Hello. ",
    "I am",
    " here.",
    "<goto scene='b'/>",
    "<hangup/>",
    "<http url='u'/>",
    "<refer to='sip:a@b'/>",
    "<hang",
    "<set_var key='X-a' value='1'/>",
    "<collect type='pin'/>",
    "<collect type='code' prompt='Code?'/> I",
    "<hold seconds='5'/>",
    "<send_digits digits='12'/>",
    "<language code='de'/>",
    '{"tools": [{"name": "book"}, {"name": "look_up"}]}',
]
STEPS = st.one_of(
    st.builds(Heard, EVENTS),
    st.builds(lambda late, text: ("text", late, text), st.booleans(), st.sampled_from(MODEL_TEXTS)),
    st.builds(lambda late, error: ("done", late, error), st.booleans(), st.sampled_from(["", "503"])),
    st.builds(lambda late: ("http", late, "x"), st.booleans()),
    st.builds(
        lambda late, name: ("call", late, name), st.booleans(), st.sampled_from(["look_up", "book", "unknown", "set_variable", *ACTIONS])
    ),
    st.builds(lambda n, error: ("finish", error, n), st.integers(0, 3), st.booleans()),
    st.builds(lambda s: ("wait", False, s), st.sampled_from([0.1, 1.0, 4.0, 20.0])),
)

TOOLS = (
    Tool("look_up", timeout_s=5),
    Tool("book", say_meanwhile="One moment.", cancellable=False, timeout_s=5, result_at="now"),
    Tool("later", cancellable=False, timeout_s=5, result_at="next"),
)


class Watch:
    """Follows the effects and objects to what must not be."""

    def __init__(self, dialogue: CascadeConversation) -> None:
        self.dialogue = dialogue
        self.now = 0.0
        self.sounding: str | None = None
        self.n_requests = 0
        self.tool_ids: list[str] = []
        self.left_by: str | None = None
        self.has_referred = False
        self.is_secret = False
        self.look(dialogue.start(0.0))

    def look(self, effects: list[AgentEffect]) -> None:
        for effect in effects:
            assert self.dialogue.state is not State.ENDED or not isinstance(effect, Perform)
            if isinstance(effect, AskModel):
                assert effect.reply <= self.dialogue.reply
                self.look_at_prompts(effect.prompts)
            if isinstance(effect, RunTool):
                assert effect.id not in self.tool_ids, "one id for two calls"
                self.tool_ids.append(effect.id)
            if isinstance(effect, Note) and effect.message == "playback lost":
                self.sounding = None
            if isinstance(effect, MaskInput):
                assert effect.is_secret is not self.is_secret, "masked twice"
                self.is_secret = effect.is_secret
            if isinstance(effect, SendHttp):
                self.n_requests = effect.request
            if isinstance(effect, Perform):
                self.perform(effect.command)

    def look_at_prompts(self, prompts) -> None:
        for index, prompt in enumerate(prompts):
            if prompt.tool_calls:
                assert prompts[index + 1].tool_call_id == prompt.tool_calls[0].id, "a tool call without a result"
            elif prompt.role == "tool":
                assert prompts[index - 1].tool_calls, "a result without a tool call"

    def look_at_turn(self) -> None:
        state, turn = self.dialogue.state, self.dialogue.turn
        if state in (State.LISTENING, State.THINKING, State.SPEAKING):
            assert self.dialogue.next_timeout() is not None, "a turn without a deadline"
            assert turn is not Holder.ELSEWHERE
        else:
            assert turn is Holder.ELSEWHERE
        if state is State.SPEAKING and self.sounding is not None:
            assert turn is not Holder.NOBODY

    def perform(self, command: commands.Command) -> None:
        assert self.left_by is None, "something is done after the hang-up"
        match command:
            case commands.Tts():
                assert self.sounding in (None, command.play_id), "two replies speak at once"
                number = re.match(r"r(\d+)", command.play_id or "")
                assert number and int(number.group(1)) <= self.dialogue.reply
                self.sounding = command.play_id
            case commands.Play():
                assert self.sounding is None, "a file is played into speech"
                self.sounding = command.url
            case commands.Interrupt(graceful=False):
                self.sounding = None
            case commands.Refer():
                self.has_referred = True
            case commands.Hangup():
                assert self.sounding is None, "the goodbye is clipped"
                self.left_by = "hangup"
            case _:
                pass

    def step(self, step) -> None:
        if isinstance(step, Heard):
            self.hear(step.event)
            return
        kind, late, value = step
        reply = ReplyNumber(self.dialogue.reply - late)
        if kind == "text":
            self.look(self.dialogue.handle(ModelText(reply, value), self.now))
        elif kind == "done":
            self.look(self.dialogue.handle(ModelDone(reply, value), self.now))
        elif kind == "http":
            self.look(self.dialogue.handle(HttpAnswered(reply, self.n_requests, value), self.now))
        elif kind == "call":
            self.look(self.dialogue.handle(ToolCall(reply, "c", value, ARGUMENTS.get(value, "{}")), self.now))
        elif kind == "finish":
            run_id = self.tool_ids[value % len(self.tool_ids)] if self.tool_ids else "c"
            self.look(self.dialogue.handle(ToolFinished(run_id, "done", "failed" if late else None), self.now))
        else:
            self.wait(value)

    def hear(self, event: events.Event) -> None:
        if isinstance(event, (events.TrackStart, events.TrackEnd, events.Interruption)):
            if event.play_id == "current":
                event = type(event)(play_id=self.sounding)
            if not isinstance(event, events.TrackStart) and event.play_id == self.sounding:
                self.sounding = None
        self.look(self.dialogue.handle(Heard(event), self.now))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200):
            due = self.dialogue.next_timeout()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.look(self.dialogue.handle_timeout(self.now))
        else:
            raise AssertionError("the timers never come to rest")
        self.now = end


@pytest.mark.parametrize("provider", ["script", "openai"])
@pytest.mark.parametrize(
    "interruption",
    [
        "{strategy: vad}",
        "{strategy: none}",
        "{strategy: asr, fillerWordFilter: true}",
        "{strategy: both, minSpeechMs: 300, ignoreFirstMs: 500}",
    ],
)
@given(steps=st.lists(STEPS, max_size=40))
@searching(20)
def test_any_story_keeps_the_invariants(provider, interruption, steps):
    text = HEAD.format(provider=provider, interruption=interruption) + BODY
    book = parse_playbook(text, file="p.md", environment={})
    tools = ToolRegistry((*TOOLS, *builtin_tools(book)))
    watch = Watch(CascadeConversation(book, {}, {}, tools=tools, has_functions=provider == "openai"))
    watch.step(Heard(events.MediaReady()))
    for step in steps:
        watch.step(step)
        watch.look_at_turn()
        state = watch.dialogue.state
        if state is State.THINKING:
            assert watch.dialogue.next_timeout() is not None, "thinking without a watch"
    watch.wait(300)
    watch.look_at_turn()
    assert watch.dialogue.state not in (State.IDLE, State.THINKING)
    if watch.dialogue.state is State.SPEAKING:
        assert watch.sounding == "a.wav", "speaking without an end"
    if watch.dialogue.state is State.ENDING:
        assert watch.left_by or watch.has_referred, "a goodbye that is never acted on"
    watch.hear(events.Hangup())
    assert watch.dialogue.state is State.ENDED
    assert watch.dialogue.next_timeout() is None
    assert not watch.is_secret, "a secret without an end"
    results = [item.id for item in watch.dialogue.history if isinstance(item, ToolResultItem)]
    assert len(results) == len(set(results)), "two results of one call"


def test_table_names_every_state_and_leads_nowhere_from_the_end():
    assert set(TABLE) == set(State)
    assert TABLE[State.ENDED] == {}
    assert all(Signal.OVER in row for state, row in TABLE.items() if state is not State.ENDED)
