"""The runner drives a conversation by its Protocol: inputs in, effects carried out, whatever the kind of the conversation."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from msgspec.structs import force_setattr

from active_call.agent import effects
from active_call.agent.cascade import CascadeConversation
from active_call.agent.conversation import Conversation
from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.realtime import events as realtime
from active_call.agent.realtime.conversation import RealtimeConversation
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.call.conversation.agent_runner import AgentPorts, AgentRunner
from active_call.call.conversation.reply_reading import REST_S
from active_call.call.conversation.web_requests import WebRequests, access_of
from active_call.call.log import CallLog
from active_call.call.speech.latency import TurnClock
from active_call.contract import commands, events
from active_call.providers.base import ChatModel, ReplyRequest, TextDelta, ToolCallDelta
from active_call.providers.chat import ChatModelCapabilities

SCRIPT = "---\nllm: {provider: script}\ngreeting: Good day.\n---\n## hello\nHi.\n"
REALTIME = "---\nllm: {provider: openai}\nrealtime: {provider: scripted}\n---\nYou sell flowers.\n"


class Call:
    """A call around a runner, with fake ports."""

    def __init__(self, conversation: Conversation, tasks: asyncio.TaskGroup, model: ChatModel | None = None, **given: Any) -> None:
        self.performed: list[commands.Command] = []
        self.told: list[events.Event] = []
        self.phrases: list[tuple[str, ...]] = []
        self.faults: list[Exception] = []
        self.utterances_ended: list[float] = []
        self.questions: list[int] = []
        self.overlaps: list[bool] = []
        self.now = 0.0
        self.posted = asyncio.Event()
        ports = AgentPorts(
            perform=self.performed.append,
            attempt=self._attempt,
            tell=self.told.append,
            post=self._post,
            expect_phrases=self.phrases.append,
            end_utterance=self.utterances_ended.append,
            judge_turn=self.questions.append,
            note_overlap=self.overlaps.append,
            pause_reply=lambda order: True,
            resume_reply=lambda: None,
            pause_on_voice=lambda _: None,
            spawn=lambda work, name: tasks.create_task(work, name=name),
            now=lambda: self.now,
        )
        http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
        requests = WebRequests(access_of(parse_playbook(SCRIPT, file="p.md", environment={})), http, http)
        self.runner = AgentRunner(conversation, model, requests, TurnClock(), ports, CallLog(logging.getLogger("test"), {}), **given)

    def _attempt(self, what: str, work: Any, *given: Any) -> bool:
        try:
            work(*given)
        except Exception as error:
            self.faults.append(error)
            return False
        return True

    def _post(self, item: effects.AgentInput) -> None:
        self.runner.hear(item)
        self.posted.set()

    def hear(self, item: effects.AgentInput) -> None:
        self.runner.hear(item)
        self.runner.settle(self.now)


def run(work: Any) -> None:
    async def go() -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            await work(tasks)

    asyncio.run(go())


class Scripted:
    """A conversation that gives what it is told to."""

    def __init__(self, *answers: list[effects.AgentEffect]) -> None:
        self.answers = list(answers)
        self.heard: list[effects.AgentInput] = []

    def start(self, now: float) -> list[effects.AgentEffect]:
        return [effects.Perform(commands.Pause())]

    def handle(self, item: effects.AgentInput, now: float) -> list[effects.AgentEffect]:
        self.heard.append(item)
        return self.answers.pop(0) if self.answers else []

    def next_timeout(self) -> float | None:
        return None

    def handle_timeout(self, now: float) -> list[effects.AgentEffect]:
        return []

    def set_variable(self, key: str, value: Any) -> None: ...

    def hangup_headers(self) -> dict[str, str]:
        return {}

    def close(self, heard: tuple[str, str] | None) -> list[effects.AgentEffect]:
        return [effects.Perform(commands.Pause()), effects.EmitEvent(events.Answer())]


def test_cascade_is_started_once_and_its_effects_are_carried_out():
    async def work(tasks: asyncio.TaskGroup) -> None:
        playbook = parse_playbook(SCRIPT, file="p.md", environment={})
        call = Call(make_conversation(playbook, {}, {}), tasks)
        call.hear(effects.Heard(events.MediaReady()))
        call.runner.settle(0.0)
        assert call.phrases == [("hello",)]
        assert [command.text for command in call.performed if isinstance(command, commands.Tts)] == ["Good day."]
        assert call.faults == []

    run(work)


def test_kind_of_the_conversation_follows_the_playbook_and_what_can_be_had():
    script = parse_playbook(SCRIPT, file="p.md", environment={})
    playbook = parse_playbook(REALTIME, file="p.md", environment={})
    assert isinstance(make_conversation(script, {}, {}, has_realtime=True), CascadeConversation)
    assert isinstance(make_conversation(playbook, {}, {}), CascadeConversation)
    assert isinstance(make_conversation(playbook, {}, {}, has_realtime=True), RealtimeConversation)


def test_orders_go_to_the_realtime_session():
    async def work(tasks: asyncio.TaskGroup) -> None:
        orders: list[realtime.RealtimeOrder] = []

        class Session:
            def order(self, order: realtime.RealtimeOrder) -> None:
                orders.append(order)

            def observe(self, event: events.Event) -> None:
                assert isinstance(event, events.MediaReady)

            async def close(self) -> None:
                pass

        playbook = parse_playbook(REALTIME, file="p.md", environment={})
        call = Call(make_conversation(playbook, {}, {}, has_realtime=True), tasks, realtime=Session())
        call.hear(effects.Heard(events.MediaReady()))
        call.hear(effects.FromRealtime(realtime.SessionOpened()))
        assert isinstance(orders[0], realtime.OpenSession)

    run(work)


def test_realtime_conversation_without_a_session_ends_with_the_error_reply():
    async def work(tasks: asyncio.TaskGroup) -> None:
        playbook = parse_playbook(REALTIME, file="p.md", environment={})
        call = Call(make_conversation(playbook, {}, {}, has_realtime=True), tasks)
        call.hear(effects.Heard(events.MediaReady()))
        assert [type(command) for command in call.performed] == [commands.Tts]
        assert [event.error for event in call.told if isinstance(event, events.Error)] == ["no realtime model is configured"]

    run(work)


def test_registered_function_is_run_and_its_result_comes_back():
    async def work(tasks: asyncio.TaskGroup) -> None:
        async def book(day: str) -> str:
            return f"table 4 on {day}"

        conversation = Scripted([effects.RunTool("c1", "book", {"day": "Monday"}, 5.0)])
        call = Call(conversation, tasks, tools={"book": book})
        call.hear(effects.Heard(events.Answer()))
        await call.posted.wait()
        call.runner.settle(0.0)
        assert conversation.heard[-1] == effects.ToolFinished("c1", "table 4 on Monday")

    run(work)


def test_effect_that_fails_does_not_stop_the_others():
    async def work(tasks: asyncio.TaskGroup) -> None:
        conversation = Scripted([effects.Perform(commands.Pause()), effects.Perform(commands.Resume())])
        call = Call(conversation, tasks)
        perform = call.performed.append

        def fail_first(command: commands.Command) -> None:
            perform(command)
            raise ValueError("no")

        force_setattr(call.runner._ports, "perform", fail_first)
        call.hear(effects.Heard(events.Answer()))
        assert len(call.performed) == 3
        assert len(call.faults) == 3

    run(work)


def test_at_the_end_only_the_transcript_is_told():
    async def work(tasks: asyncio.TaskGroup) -> None:
        call = Call(Scripted(), tasks)
        call.runner.close(None)
        assert call.performed == []
        assert call.told == [events.Answer()]

    run(work)


def test_model_that_is_not_configured_is_an_answer_with_an_error():
    async def work(tasks: asyncio.TaskGroup) -> None:
        conversation = Scripted([effects.AskModel(effects.ReplyNumber(1), (), "start")])
        call = Call(conversation, tasks)
        call.hear(effects.Heard(events.Answer()))
        assert conversation.heard[-1] == effects.ModelDone(effects.ReplyNumber(1), "no language model is configured")

    run(work)


@pytest.mark.parametrize("kind", [CascadeConversation, RealtimeConversation])
def test_both_kinds_are_conversations(kind: type[Any]):
    playbook = parse_playbook(REALTIME, file="p.md", environment={})
    conversation: Conversation = kind(playbook, {"caller": "alice"}, {}, tools=ToolRegistry([Tool("book")]))
    conversation.start(0.0)
    conversation.set_variable("X-Outcome", "done")
    conversation.handle(effects.Heard(events.MediaReady()), 0.0)
    assert conversation.next_timeout() is not None
    assert conversation.hangup_headers() == {"X-Outcome": "done"}
    conversation.close(None)
    assert conversation.next_timeout() is None


class ModelWithTools:
    """Calls the tool `book` first, and speaks about its result then."""

    name = "scripted"
    capabilities = ChatModelCapabilities(tools=True)

    def __init__(self) -> None:
        self.requests: list[ReplyRequest] = []

    def reply(self, request: ReplyRequest) -> Any:
        self.requests.append(request)
        return self._write(request)

    async def _write(self, request: ReplyRequest) -> Any:
        result = next((message.content for message in request.messages if message.role == "tool"), None)
        if result is None:
            yield ToolCallDelta(0, '{"day": "Monday"}', "c1", "book")
        else:
            yield TextDelta(f"You have {result}.")

    async def close(self) -> None: ...


def test_model_calls_a_tool_and_speaks_about_its_result():
    async def work(tasks: asyncio.TaskGroup) -> None:
        async def book(day: str) -> str:
            return f"table 4 on {day}"

        model = ModelWithTools()
        playbook = parse_playbook("---\nllm: {provider: openai}\n---\nYou book tables.\n", file="p.md", environment={})
        schema = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
        registry = ToolRegistry([Tool("book", "Book a table.", schema, say_meanwhile="One moment.")])
        call = Call(make_conversation(playbook, {}, {}, registry), tasks, model, tools={"book": book})
        call.hear(effects.Heard(events.MediaReady()))
        call.hear(effects.Heard(events.AsrFinal(text="a table on Monday, please")))
        said: list[str] = []
        while "You have table 4 on Monday." not in said:
            await call.posted.wait()
            call.posted.clear()
            call.runner.settle(0.0)
            for command in call.performed:
                if isinstance(command, commands.Tts) and command.end_of_stream:
                    call.hear(effects.Heard(events.TrackEnd(play_id=command.play_id)))
            said = [command.text for command in call.performed if isinstance(command, commands.Tts) and command.text]
        assert said == ["One moment.", "You have table 4 on Monday."]
        assert [tool.name for tool in model.requests[0].tools] == ["book"]
        assert call.faults == []

    run(work)


class SlowCall(Call):
    """A call that is busy: what is posted waits."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.waiting: list[Any] = []
        super().__init__(*args, **given)

    def _post(self, item: Any) -> None:
        self.waiting.append(item)

    async def wait_for(self, n_waiting: int) -> None:
        while len(self.waiting) < n_waiting:
            await asyncio.sleep(0)


class Bursts:
    """A model whose text comes in two bursts; the second one calls a tool."""

    name = "bursts"
    capabilities = ChatModelCapabilities(tools=True)

    def __init__(self) -> None:
        self.request = ReplyRequest(())
        self.go_on = asyncio.Event()

    def reply(self, request: ReplyRequest) -> Any:
        self.request = request
        return self._write()

    async def _write(self) -> Any:
        yield TextDelta("Good ")
        yield TextDelta("day. ")
        await self.go_on.wait()
        yield TextDelta("I look.")
        yield ToolCallDelta(0, "{}", "c1", "look")
        yield TextDelta("Wait.")

    async def close(self) -> None: ...


REPLY = effects.ReplyNumber(3)


def test_text_that_comes_before_the_agent_has_read_the_last_is_one_input():
    async def work(tasks: asyncio.TaskGroup) -> None:
        model, conversation = Bursts(), Scripted([effects.AskModel(REPLY, (), "")])
        call = SlowCall(conversation, tasks, model)
        call.hear(effects.Heard(events.MediaReady()))
        await call.wait_for(1)
        call.hear(call.waiting[0])
        model.go_on.set()
        await call.wait_for(4)
        for item in call.waiting[1:]:
            call.hear(item)
        assert conversation.heard[1:] == [
            effects.ModelText(REPLY, "Good day. "),
            effects.ModelText(REPLY, "I look.Wait."),
            effects.ToolCall(REPLY, "c1", "look", "{}"),
            effects.ModelDone(REPLY, ""),
        ]

    run(work)


def test_model_is_read_in_larger_pieces_from_the_first_speech_of_its_reply_to_a_tool_call():
    async def work(tasks: asyncio.TaskGroup) -> None:
        other = effects.Perform(commands.Tts(text="One moment.", play_id="filler"))
        own = effects.Perform(commands.Tts(text="Good day.", play_id=f"r{REPLY}"))
        model = Bursts()
        call = SlowCall(Scripted([effects.AskModel(REPLY, (), "")], [other], [own]), tasks, model)
        call.hear(effects.Heard(events.MediaReady()))
        await call.wait_for(1)
        call.hear(effects.Heard(events.Answer()))
        rests = [model.request.rest_s()]
        call.hear(call.waiting[0])
        rests.append(model.request.rest_s())
        model.go_on.set()
        await call.wait_for(4)
        assert [*rests, model.request.rest_s()] == [0.0, REST_S, 0.0]

    run(work)
