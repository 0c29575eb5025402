"""Ask the model and take its output: text, tool calls, end, failure, and the results of its tools.

In: inputs of the model and of tools. Out: steps for the current reply; effects that ask the model and run tools. A model's text for another
reply than the current one is dropped. The result of a tool is always used: the model gets it with the next request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec.structs import replace

from active_call.agent.control_tokens import without_control_tokens
from active_call.agent.effects import (
    AskModel,
    EmitEvent,
    HttpAnswered,
    ModelDone,
    ModelText,
    ReplyNumber,
    Summarise,
    Summarised,
    ToolAnswered,
    ToolCall,
    ToolFinished,
)
from active_call.agent.features import ROLLING_SUMMARY
from active_call.agent.items import AgentItem, Item, SystemItem, UserItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.model_stream import MODEL_PATIENCE_S, ModelStream
from active_call.agent.reply.parser import is_progress
from active_call.agent.reply.reply import Reply
from active_call.agent.reply.speculation import MAX_AGE_S, ModelInput
from active_call.agent.reply.steps import Remainder, Sentence, Step
from active_call.agent.reply.tags import UnknownTag
from active_call.agent.summary import RollingSummary
from active_call.agent.tools.calls import LATE, Started, ToolCalls
from active_call.agent.tools.registry import AT_NEXT_TURN, described
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands, events

MAX_TOOL_ROUNDS = 8
"""Maximum number of consecutive tool rounds without words of the caller. After that the model is asked once without tools."""

At = Callable[[float], None]
"""A callback with the current time."""


class ModelAnswers:
    """The model's part in the current reply. `pump` continues the reply; `apologise` says the error reply instead."""

    def __init__(
        self,
        context: PlaybookContext,
        phase: Phase,
        timers: Timers,
        outbox: Outbox,
        reply: Reply,
        tools: ToolCalls,
        pump: At,
        apologise: At,
    ) -> None:
        self.has_results = False
        """Results have arrived that no request to the model contains yet."""
        self.is_yielding = False
        """The agent has stopped its own speech for an urgent tool result."""
        self.calls_tools = True
        """Whether the model calls tools natively; else they are described in its prompt and it calls them in JSON."""
        self._n_rounds = 0
        self._said_meanwhile: set[str] = set()
        """The tools whose `say_meanwhile` the caller has heard since speaking."""
        llm = context.playbook.llm
        self._summary = RollingSummary(outbox.history, llm.summary_limit) if ROLLING_SUMMARY in llm.features else None
        self._context = context
        self._phase = phase
        self._timers = timers
        self._outbox = outbox
        self._reply = reply
        self._tools = tools
        self._pump = pump
        self._apologise = apologise

    def caller_took_part(self) -> None:
        """The caller has spoken: restart the count of tool rounds and of equal calls."""
        self._n_rounds = 0
        self._said_meanwhile.clear()
        self._tools.caller_took_part()

    # -- asking

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model for a new reply to the current conversation. A matching speculative request is adopted."""
        self._tools.detach()
        request = self._request(hint)
        adopted = self._reply.speculation.adopt(request, now)
        self._reply.speculation.turn_ended()
        self._reply.start([], is_complete=False, number=adopted[0] if adopted is not None else None)
        self._reply.stream = ModelStream(
            now, is_prefilled=self._context.playbook.llm.thinking == "prefilled", first_cut_words=self._context.first_cut_words
        )
        self._reply.is_from_model = True
        self.has_results = self.is_yielding = False
        self._phase.fire(Signal.ASK)
        self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)
        if adopted is None:
            self._outbox.put(replace(request, reply=self._reply.number))
        else:
            self._take_back(adopted[1], now)
        self._ask_for_summary()

    def speculate(self, said: str, now: float) -> None:
        """The caller's turn is probably over with the words `said`: ask the model now and hold back its output.

        Nothing is asked while a reply of the agent is active.
        """
        is_idle = self._phase.state is State.LISTENING and self._reply.queue.is_done and self._reply.stream is None
        if not is_idle or self._tools.is_waited_for or self.has_results:
            return
        request = self._request("", UserItem(said))
        if self._reply.speculation.may_ask(request):
            asked = replace(request, reply=ReplyNumber(self._reply.queue.reserve()))
            self._reply.speculation.ask(asked, now, is_prefilled=self._context.playbook.llm.thinking == "prefilled")
            self._timers.set(Timer.SPECULATION, now + MAX_AGE_S)

    def _request(self, hint: str, *said: Item) -> AskModel:
        """The request for the current conversation, as if `said` had been added."""
        llm = self._context.playbook.llm
        tools = self._tools.registry.schemas() if self._n_rounds < MAX_TOOL_ROUNDS else ()
        told = "" if self.calls_tools else described(tools)
        prompts = self._context.prompts(self._outbox.history.prompts(*said), hint, told)
        tools = tools if self.calls_tools else ()
        asked = AskModel(self._reply.number, prompts, self._context.scene.id, llm.temperature, llm.max_tokens, tools)
        return replace(asked, query=self._last_words(*said), parallel_tool_calls=llm.parallel_tool_calls)

    def _take_back(self, kept: list[ModelInput], now: float) -> None:
        """The turn ended with the words of the speculative request: process the output held back so far."""
        for item in kept:
            match item:
                case ModelText():
                    self.on_text(item, now)
                case ToolCall():
                    self.on_tool_call(item, now)
                case ModelDone():
                    self.on_done(item, now)
                case _:
                    assert_never(item)

    def _last_words(self, *more: Item) -> str:
        """What the caller has said since the agent was last heard."""
        said: list[str] = []
        for item in reversed((*self._outbox.history.items, *more)):
            if isinstance(item, AgentItem) and said:
                break
            if isinstance(item, UserItem):
                said.insert(0, item.text)
        return " ".join(said)

    def _ask_for_summary(self) -> None:
        request = self._summary.request() if self._summary is not None else None
        if request is not None:
            self._outbox.put(Summarise(without_control_tokens(request.text), self._context.wording.summarise))

    def on_summary(self, item: Summarised) -> None:
        """Take the summary of the older part of the conversation."""
        if self._summary is not None:
            self._summary.take(item.text)

    def ask_about_results(self, now: float) -> None:
        """Ask the model to speak about the results that have arrived.

        A model that calls tools even when it is asked without any would go on for ever, without a word: it has failed.
        """
        self._n_rounds += 1
        if self._n_rounds > MAX_TOOL_ROUNDS:
            self.has_results = False
            self._note_failure("the model calls tools again and again, without a word")
            self._apologise(now)
            return
        self.ask(now)

    # -- output of the model

    def on_text(self, item: ModelText, now: float) -> None:
        """More text of the model."""
        if self._reply.speculation.takes(item):
            return
        stream = self._reply.stream
        if item.reply != self._reply.number or stream is None:
            return
        steps = stream.feed(item.text, now)
        self._reply.retract_reasoning(stream)
        self._timers.set(Timer.MODEL, stream.deadline)
        self._add(steps)
        self._pump(now)

    def _add(self, steps: list[Step]) -> None:
        """Add the steps of the model's text. It is told what was left out of them, and asked again if nothing else follows."""
        for step in steps:
            if isinstance(step, Sentence | Remainder):
                self._reply.queue.add([step])
                continue
            action, why = self._context.sound_sources.checked(step)
            self._reply.queue.add([action])
            if why:
                if action is not step and not isinstance(action, UnknownTag):
                    self._outbox.note("sound left out", reason=why)
                self._outbox.remember(SystemItem(f"[Error: {why}]"))
                self._reply.has_acted = self.has_results = True

    def on_tool_call(self, item: ToolCall, now: float) -> None:
        """The model calls a tool, which starts now. The agent says the tool's `say_meanwhile` once, unless the model has said something."""
        if self._reply.speculation.takes(item):
            return
        stream = self._reply.stream
        if item.reply != self._reply.number or stream is None:
            self._outbox.note("tool call dropped", tool=item.name, reason="it belongs to an older reply")
            return
        steps = stream.flush(now)
        self._reply.retract_reasoning(stream)
        self._timers.set(Timer.MODEL, stream.deadline)
        self._add(steps)
        self._reply.has_acted = True
        started = self._tools.call(item)
        if started is None:
            self.has_results = True
        else:
            self._on_started(started, stream)
        self._pump(now)

    def _on_started(self, started: Started, stream: ModelStream) -> None:
        tool = started.tool
        if started.action is not None:
            self._reply.queue.add([started.action])
            stream.is_unanswered = stream.is_unanswered or tool.is_answered
        elif tool.say_meanwhile and not stream.has_written and tool.name not in self._said_meanwhile:
            self._said_meanwhile.add(tool.name)
            stream.has_written = True
            self._reply.queue.add([Sentence(tool.say_meanwhile)])
        else:
            stream.is_unanswered = stream.is_unanswered or tool.result_at == AT_NEXT_TURN

    def on_done(self, item: ModelDone, now: float) -> None:
        """The model has finished or failed."""
        if self._reply.speculation.takes(item):
            return
        stream = self._reply.stream
        if item.reply != self._reply.number or stream is None:
            return
        self._reply.stream = None
        self._timers.clear(Timer.MODEL)
        if item.error:
            self._on_failed(item.error, now)
            return
        steps = stream.finish()
        self._reply.retract_reasoning(stream)
        self._add(steps)
        self._reply.queue.complete()
        if stream.is_unanswered and not (stream.has_written or is_progress(steps)):
            self.has_results = True
        self._pump(now)

    def on_late(self, now: float) -> None:
        """The model or a tool has taken too long."""
        if self._reply.stream is not None:
            self._reply.abandon_model()
            self._on_failed(LATE, now)
        elif self._tools.is_waited_for:
            self._tools.give_up()
            self._take_result(now)

    def _on_failed(self, error: str, now: float) -> None:
        """Finish what was begun. If nothing was, apologise, because the caller must not be left in silence."""
        self._note_failure(error)
        if self._reply.queue.has_spoken:
            self._reply.queue.complete()
            self._pump(now)
        else:
            self._apologise(now)

    def _note_failure(self, error: str) -> None:
        self._outbox.note("model failed", reply=self._reply.number, error=error)
        self._outbox.put(EmitEvent(events.Error(sender="llm", error=error)))

    # -- the results of tools

    def on_http_answered(self, item: HttpAnswered, now: float) -> None:
        """The answer to an `<http>` request of this or an older reply."""
        if self._tools.answered(item):
            self._take_result(now)

    def on_tool_finished(self, item: ToolFinished | ToolAnswered, now: float) -> None:
        """The result of a tool call of this or an older reply."""
        finished = self._tools.finished(item)
        if finished is None or finished.waits_for_caller:
            return
        if finished.interrupts and self._phase.state is State.SPEAKING and not self._reply.queue.is_leaving:
            self._outbox.perform(commands.Interrupt(graceful=True))
            self.is_yielding = True
        self._take_result(now)

    def _take_result(self, now: float) -> None:
        """The model speaks about the result when nothing else is left to say."""
        self.has_results = self._context.has_model
        if not self._tools.is_waited_for and self._reply.stream is None:
            self._timers.clear(Timer.MODEL)
        self._pump(now)
