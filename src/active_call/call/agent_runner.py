"""Runs the agent for a call: feeds it events, carries out its effects, streams the model's words back to it.

Nothing here waits: requests to models and to the web run as tasks, and their results come back through the call's mailbox.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, assert_never

import httpx

from active_call.agent import effects
from active_call.base.errors import ActiveCallError
from active_call.call.latency import TurnClock
from active_call.call.log import CallLog
from active_call.call.web_requests import WebRequests
from active_call.contract import commands, events
from active_call.providers.base import ChatMessage, ChatModel, ReplyRequest, text_of_reply

HTTP_DEADLINE_S = 10.0
MAX_HTTP_ANSWER_CHARS = 8_000


class Agent(Protocol):
    """The pure agent, as the call sees it."""

    def receive(self, item: effects.AgentInput, now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    def take_effects(self) -> list[effects.AgentEffect]: ...
    def set_variable(self, key: str, value: Any) -> None: ...
    def hangup_headers(self) -> dict[str, str]: ...
    def close(self, heard: tuple[str, str] | None) -> None: ...


@dataclass(frozen=True, slots=True)
class BrainPorts:
    """What the brain may do to its call."""

    perform: Callable[[commands.Command], None]
    attempt: Callable[[str, Callable[[], object]], bool]
    """Do something that may fail, behind the call's wall: one effect that fails takes no other with it."""
    tell: Callable[[events.Event], object]
    post: Callable[[effects.AgentInput], None]
    """Bring something to the brain later, through the mailbox."""
    expect_phrases: Callable[[tuple[str, ...]], None]
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    now: Callable[[], float]


class AgentRunner:
    """One call's agent at work."""

    def __init__(
        self, agent: Agent, responder: ChatModel | None, http: WebRequests, turn: TurnClock, ports: BrainPorts, log: CallLog
    ) -> None:
        self._agent = agent
        self._responder = responder
        self._http = http
        self._turn = turn
        self._ports = ports
        self._log = log
        self._inbox: deque[effects.AgentInput] = deque()
        self._model_tasks: dict[effects.ReplyNumber, asyncio.Task[None]] = {}
        self._asked_at: dict[effects.ReplyNumber, float] = {}

    def hear(self, item: effects.AgentInput) -> None:
        """Keep `item` for the next `settle`."""
        if isinstance(item, effects.ModelText):
            asked_at = self._asked_at.get(item.reply)
            if asked_at is not None:
                self._turn.model_wrote(asked_at, self._ports.now())
        elif isinstance(item, effects.ModelDone):
            self._model_tasks.pop(item.reply, None)
            self._asked_at.pop(item.reply, None)
        self._inbox.append(item)

    def next_timeout(self) -> float | None:
        return self._agent.next_timeout()

    def set_variable(self, key: str, value: Any) -> None:
        self._agent.set_variable(key, value)

    def hangup_headers(self) -> dict[str, str]:
        """What the playbook wants in a BYE of ours, filled in with the variables of now."""
        return self._agent.hangup_headers()

    def close(self, heard: tuple[str, str] | None) -> None:
        """The call is over: what was said and heard until now is told, and nothing is done any more. `heard`: the play, and its text."""
        self._agent.close(heard)
        for effect in self._agent.take_effects():
            if isinstance(effect, effects.Tell):
                self._ports.tell(effect.event)

    def settle(self, now: float) -> None:
        """Let the agent think until it has nothing more to do. Commands that it gives may bring new events at once."""
        due = self._agent.next_timeout()
        if due is not None and due <= now:
            self._agent.handle_timeout(now)
        while True:
            for effect in self._agent.take_effects():
                self._ports.attempt("agent", partial(self._carry_out, effect))
            if not self._inbox:
                return
            self._ports.attempt("agent", partial(self._agent.receive, self._inbox.popleft(), now))

    def _carry_out(self, effect: effects.AgentEffect) -> None:
        match effect:
            case effects.Perform(command):
                self._ports.perform(command)
            case effects.AskModel():
                self._ask(effect)
            case effects.AbandonModel(reply):
                self._abandon(reply)
            case effects.SendHttp():
                self._ports.spawn(self._send_http(effect), f"http {effect.request}")
            case effects.ExpectPhrases(phrases):
                self._ports.expect_phrases(phrases)
            case effects.Tell(event):
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
        request = ReplyRequest(
            tuple(ChatMessage(prompt.role, prompt.text) for prompt in effect.prompts),
            scene=effect.scene,
            temperature=effect.temperature,
            max_tokens=effect.max_tokens,
        )
        self._model_tasks[effect.reply] = self._ports.spawn(self._stream(self._responder, request, effect.reply), f"model {effect.reply}")

    async def _stream(self, responder: ChatModel, request: ReplyRequest, reply: effects.ReplyNumber) -> None:
        error = ""
        try:
            async with aclosing(text_of_reply(responder, request)) as pieces:
                async for text in pieces:
                    self._ports.post(effects.ModelText(reply, text))
        except ActiveCallError as failure:
            error = str(failure)  # the agent tells it
        except Exception as failure:  # noqa: BLE001 - an adapter outside the provider wall
            self._log.error("model failed", exc_info=failure)
            error = f"unforeseen {type(failure).__name__}: {failure}"
        self._ports.post(effects.ModelDone(reply, error))

    def _abandon(self, reply: effects.ReplyNumber) -> None:
        self._asked_at.pop(reply, None)
        task = self._model_tasks.pop(reply, None)
        if task is not None:
            task.cancel()

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
