"""Runs the conversation of a call: passes it inputs, executes its effects, streams the model's text and the tools' results back to it.

The runner knows a conversation only by its Protocol, not by its kind. Nothing here waits: requests to models and web servers, and tools,
run as tasks, and their results come back through the call's mailbox.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, assert_never

import httpx
from msgspec import Struct
from msgspec.structs import replace

from active_call.agent import effects
from active_call.agent.conversation import Conversation
from active_call.agent.realtime import events as realtime_events
from active_call.agent.tools.http_tool import HttpTool
from active_call.agent.tools.registry import Tool
from active_call.base.errors import ActiveCallError
from active_call.call.conversation.model_metrics import ModelMetrics, play_id_of
from active_call.call.conversation.model_request import inputs_of, request_of, summary_of, with_context
from active_call.call.conversation.reply_reading import ReplyReading, UnreadText
from active_call.call.conversation.tool_execution import ToolExecution, ToolFunction
from active_call.call.conversation.web_requests import WebRequests
from active_call.call.log import CallLog
from active_call.call.speech.latency import TurnClock
from active_call.contract import commands, events
from active_call.providers.base import ChatModel, ReplyRequest

HTTP_DEADLINE_S = 10.0
MAX_HTTP_ANSWER_CHARS = 8_000


class AgentPorts(Struct, frozen=True):
    """The runner's interface to its call."""

    perform: Callable[[commands.Command], None]
    attempt: Callable[..., bool]
    """Run an action and catch its errors: a failed effect does not stop the others."""
    tell: Callable[[events.Event], object]
    post: Callable[[effects.AgentInput | UnreadText], None]
    """Post an input for the runner into the mailbox."""
    expect_phrases: Callable[[tuple[str, ...]], None]
    end_utterance: Callable[[float], None]
    note_overlap: Callable[[bool], None]
    """Whether the caller speaks over a paused reply."""
    """Make the recogniser finish the caller's speech so far."""
    judge_turn: Callable[[int], None]
    """Ask the turn model; its answer comes as TurnJudged. Does nothing if there is none."""
    pause_reply: Callable[[effects.PauseReply], bool]
    """Pause the agent's speech; False if so little is left that it ends first."""
    resume_reply: Callable[[], None]
    pause_on_voice: Callable[[effects.PauseOnVoice], None]
    """Let the media process itself pause when the caller speaks; PausedOnVoice comes back."""
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    now: Callable[[], float]
    prepare_speech: Callable[[commands.Tts | None], None] = lambda command: None
    """Prepare the speech of a likely command and hold it back; None: it is no longer needed."""
    switch_language: Callable[[str, str], None] = lambda code, voice: None
    """Change the language of recognition and speech."""
    mask_input: Callable[[bool], None] = lambda is_secret: None
    """Whether the caller's further input is secret."""


class FindTools(Protocol):
    """Lists the tools of MCP servers: the functions go into `functions`, the tools to `offer`."""

    async def __call__(self, functions: dict[str, ToolFunction], offer: Callable[[tuple[Tool, ...]], object]) -> None: ...


class RealtimeSession(Protocol):
    """The session of a realtime model. Its events come to the runner through the mailbox, as FromRealtime."""

    def order(self, order: realtime_events.RealtimeOrder) -> None:
        """Execute `order`; returns at once. Failures come back as SessionFailed."""
        ...

    def observe(self, event: events.Event) -> None:
        """An event of the call, before the conversation gets it."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class AgentRunner:
    """Runs the conversation of one call.

    `tools`: the functions behind the registered tools, by name; `http_tools`: those that are requests. `find_tools` asks MCP servers
    for more. `context_of` returns passages for the caller's words. `realtime`: the model's session, for a realtime conversation.
    """

    def __init__(
        self,
        conversation: Conversation,
        responder: ChatModel | None,
        http: WebRequests,
        turn: TurnClock,
        ports: AgentPorts,
        log: CallLog,
        tools: Mapping[str, ToolFunction] | None = None,
        realtime: RealtimeSession | None = None,
        http_tools: Mapping[str, HttpTool] | None = None,
        find_tools: FindTools | None = None,
        context_of: Callable[[str], Coroutine[Any, Any, str]] | None = None,
    ) -> None:
        self._conversation = conversation
        self.next_timeout: Callable[[], float | None] = conversation.next_timeout
        """The next deadline of the conversation, in monotonic seconds."""
        self._responder = responder
        self._http = http
        self._turn = turn
        self._ports = ports
        self._log = log
        self._realtime = realtime
        self._functions: dict[str, ToolFunction] = dict(tools or {})
        self._find_tools = find_tools
        self._context_of = context_of
        requests = {name: http.for_tool(tool) for name, tool in (http_tools or {}).items()}
        self._tools = ToolExecution(self._functions, ports.spawn, ports.post, log, requests)
        self._inbox: deque[effects.AgentInput] = deque()
        self._has_started = False
        self._model_tasks: dict[effects.ReplyNumber, asyncio.Task[None]] = {}
        self._asked_at: dict[effects.ReplyNumber, float] = {}
        self._reading: tuple[str, ReplyReading] = ("", ReplyReading())
        """The playId of the reply that is being read, and how it is read."""
        self._metrics = ModelMetrics(ports.tell, ports.now)
        self._plays_of_others: Counter[str] = Counter()
        """For each play id of others: how many ends of such plays are still to come."""

    def ignore_plays(self, plays: Iterable[str]) -> None:
        """Do not pass the events of these plays to the conversation: they are in progress, and others have begun them."""
        self._plays_of_others.update(plays)

    def _is_of_another(self, event: events.Event) -> bool:
        """Whether `event` belongs to a play that began before this conversation, whose own plays may have the same ids."""
        match event:
            case events.TrackStart(play_id=str(play_id)):
                return self._plays_of_others[play_id] > 0
            case events.TrackEnd(play_id=str(play_id)) | events.Interruption(play_id=str(play_id)) if self._plays_of_others[play_id] > 0:
                self._plays_of_others[play_id] -= 1
                return True
            case _:
                return False

    def hear(self, item: effects.AgentInput | UnreadText) -> None:
        """Store `item` for the next `settle`."""
        if isinstance(item, UnreadText):
            item = item.read()
        if isinstance(item, effects.Heard) and self._is_of_another(item.event):
            return
        self._metrics.hear(item)
        if isinstance(item, effects.ModelText):
            asked_at = self._asked_at.get(item.reply)
            if asked_at is not None:
                self._turn.model_wrote(asked_at, self._ports.now())
        elif isinstance(item, effects.Heard) and self._realtime is not None:
            self._realtime.observe(item.event)
        elif isinstance(item, effects.ModelDone):
            self._model_tasks.pop(item.reply, None)
            self._asked_at.pop(item.reply, None)
        self._inbox.append(item)

    @property
    def scene(self) -> str:
        """The id of the conversation's current scene."""
        return self._conversation.scene

    @property
    def is_answering(self) -> bool:
        """A reply has been requested and is not heard to its end yet."""
        return self._conversation.is_answering

    def set_variable(self, key: str, value: Any) -> None:
        """Set a variable of the conversation."""
        self._conversation.set_variable(key, value)

    def hangup_headers(self) -> dict[str, str]:
        """The playbook's headers for the BYE, with the current values of variables."""
        return self._conversation.hangup_headers()

    def close(self, heard: tuple[str, str] | None) -> None:
        """The call has ended: report what was said and heard so far, and do nothing more. `heard`: the play, and its text."""
        self._tools.close()
        for effect in self._conversation.close(heard):
            if isinstance(effect, effects.EmitEvent):
                self._ports.tell(effect.event)

    def leave(self, heard: tuple[str, str] | None) -> None:
        """The agent leaves, and the call continues: as `close`, and everything it started ends, except tools that are not cancellable.

        Its requests to the call end as well: a pause, secrecy, prepared speech.
        """
        for reply in list(self._model_tasks):
            self._abandon(reply)
        self._carry_out_all(self._conversation.close(heard))
        self._tools.close()
        self._ports.pause_on_voice(effects.PauseOnVoice(None))
        self._ports.resume_reply()
        self._ports.prepare_speech(None)

    async def release(self) -> None:
        """End the session of a realtime model; after `close` or `leave`."""
        if self._realtime is not None:
            await self._realtime.close()

    def settle(self, now: float) -> None:
        """Let the conversation act until it has nothing more to do. Its commands may cause new events at once."""
        if not self._has_started:
            self._has_started = True
            self._ports.attempt("agent", self._start, now)
        due = self.next_timeout()
        if due is not None and due <= now:
            self._ports.attempt("agent", self._wake, now)
        while self._inbox:
            self._ports.attempt("agent", self._feed, self._inbox.popleft(), now)

    def _start(self, now: float) -> None:
        self._carry_out_all(self._conversation.start(now))
        if self._find_tools is not None:
            self._ports.spawn(self._find_tools(self._functions, lambda tools: self._ports.post(effects.ToolsFound(tools))), "mcp")

    def _wake(self, now: float) -> None:
        self._carry_out_all(self._conversation.handle_timeout(now))

    def _feed(self, item: effects.AgentInput, now: float) -> None:
        self._carry_out_all(self._conversation.handle(item, now))

    def _carry_out_all(self, todo: list[effects.AgentEffect]) -> None:
        for effect in todo:
            self._ports.attempt("agent", self._carry_out, effect)

    def _carry_out(self, effect: effects.AgentEffect) -> None:
        match effect:
            case effects.Perform(command):
                self._note_speech(command)
                if isinstance(command, commands.Interrupt):
                    self._ports.note_overlap(False)
                self._ports.perform(command)
            case effects.AskModel():
                self._ask(effect)
            case effects.Summarise(text, instruction):
                self._ports.spawn(self._summarise(text, instruction), "summary")
            case effects.AbandonModel(reply):
                self._abandon(reply)
            case effects.PauseReply():
                is_paused = self._ports.pause_reply(effect)
                self._ports.note_overlap(is_paused)
                if not is_paused:
                    self.hear(effects.PauseRefused())
            case effects.PauseOnVoice():
                self._ports.pause_on_voice(effect)
            case effects.PrepareSpeech(speech):
                self._ports.prepare_speech(speech)
            case effects.ResumeReply():
                self._ports.note_overlap(False)
                self._ports.resume_reply()
            case effects.RunTool():
                self._tools.run(effect)
            case effects.SendToolRequest():
                self._tools.send(effect)
            case effects.SwitchLanguage(code, voice):
                self._ports.switch_language(code, voice)
            case effects.MaskInput(is_secret):
                self._ports.mask_input(is_secret)
            case effects.CancelTool(run_id):
                self._tools.cancel(run_id)
            case effects.ToRealtime(order):
                self._to_realtime(order)
            case effects.SendHttp():
                self._ports.spawn(self._send_http(effect), f"http {effect.request}")
            case effects.ExpectPhrases(phrases):
                self._ports.expect_phrases(phrases)
            case effects.EndUtterance():
                self._ports.end_utterance(self._ports.now())
            case effects.JudgeTurn(question):
                self._ports.judge_turn(question)
            case effects.TurnDecided():
                self._turn.mark("decided_at", self._ports.now())
            case effects.EmitEvent(event):
                self._ports.tell(event)
            case effects.Note(message, fields):
                self._log.info(message, extra={"fields": dict(fields)})
            case _:
                assert_never(effect)

    # -- the model

    def _ask(self, effect: effects.AskModel) -> None:
        for reply in list(self._model_tasks):
            self._abandon(reply)
        if self._responder is None:
            self.hear(effects.ModelDone(effect.reply, "no language model is configured"))
            return
        now = self._asked_at[effect.reply] = self._ports.now()
        self._turn.mark("model_asked_at", now)
        self._metrics.asked(effect.reply)
        reading = ReplyReading()
        self._reading = (play_id_of(effect.reply), reading)
        request = replace(request_of(effect), rest_s=reading.rest_s)
        self._model_tasks[effect.reply] = self._ports.spawn(
            self._stream(self._responder, request, effect.reply, effect.query, reading), f"model {effect.reply}"
        )

    def _note_speech(self, command: commands.Command) -> None:
        """Text of the reply that is being read, or an earlier clause of it, is spoken from now on."""
        play_id, reading = self._reading
        if isinstance(command, commands.Tts) and command.play_id == play_id and command.text:
            reading.note_speech()

    async def _stream(
        self, responder: ChatModel, request: ReplyRequest, reply: effects.ReplyNumber, query: str, reading: ReplyReading
    ) -> None:
        error = ""
        unread: UnreadText | None = None
        try:
            if self._context_of is not None and query:
                request = with_context(request, await self._context_of(query))
            async with aclosing(inputs_of(responder, request, reply, reading)) as inputs:
                async for item in inputs:
                    if not isinstance(item, effects.ModelText):
                        unread = None
                        self._ports.post(item)
                    elif unread is not None and not unread.is_read:
                        unread.add(item.text)
                    else:
                        unread = UnreadText(reply, item.text)
                        self._ports.post(unread)
        except ActiveCallError as failure:
            error = str(failure)  # the agent reports it
        except Exception as failure:  # noqa: BLE001 - an adapter outside the provider wall
            self._log.error("model failed", exc_info=failure)
            error = f"unforeseen {type(failure).__name__}: {failure}"
        self._ports.post(effects.ModelDone(reply, error))

    async def _summarise(self, text: str, instruction: str) -> None:
        summary = ""
        if self._responder is not None:
            try:
                summary = await summary_of(self._responder, text, instruction)
            except (ActiveCallError, TimeoutError) as failure:
                self._log.warning("summary failed", extra={"fields": {"error": str(failure) or "no answer in time"}})
        self._ports.post(effects.Summarised(summary))

    def _abandon(self, reply: effects.ReplyNumber) -> None:
        asked_at = self._asked_at.pop(reply, None)
        if asked_at is not None:
            self._turn.model_abandoned(asked_at)
        self._metrics.abandon(reply)
        task = self._model_tasks.pop(reply, None)
        if task is not None:
            task.cancel()

    # -- the realtime model

    def _to_realtime(self, order: realtime_events.RealtimeOrder) -> None:
        if self._realtime is not None:
            self._realtime.order(order)
        elif isinstance(order, realtime_events.OpenSession):
            self.hear(effects.FromRealtime(realtime_events.SessionFailed("no realtime model is configured")))

    # -- the web

    async def _send_http(self, effect: effects.SendHttp) -> None:
        began = self._ports.now()
        try:
            response = await self._http.request(
                effect.method, effect.url, content=effect.body, headers=dict(effect.headers), timeout=HTTP_DEADLINE_S
            )
            text = f"{response.status_code} {response.text[:MAX_HTTP_ANSWER_CHARS]}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: an address or a body that cannot be sent
            text = f"failed: {error!s}"
        self._turn.waited(began, self._ports.now())
        self._ports.post(effects.HttpAnswered(effect.reply, effect.request, text))
