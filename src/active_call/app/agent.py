"""`Agent` holds a conversation with a caller: instructions, voice, recogniser, model and tools.

    class Reception(Agent):
        instructions = "You answer for Harbour Street Bakery."
        llm = "openai/gpt-4o-mini"

        @tool(say_meanwhile="One moment.")
        async def book(self, call: Call, day: str, people: int) -> str:
            "Book a table."

    outcome = await call.converse(Reception())

Settings that are not set come from the call's own options and the configuration. An instance serves one conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from active_call.agent.playbook.scenes import FollowupOption, InterruptionOption, LlmOption, Playbook, Scene
from active_call.agent.tools.registry import ToolRegistry
from active_call.app.call import Call
from active_call.app.tools import bind_tool, is_tool
from active_call.call.opening.playbook_trust import trust_of
from active_call.call.requests import BeginAgent
from active_call.contract.options import AsrOption, CallOption, RealtimeOption, TtsOption
from active_call.providers.base import ChatModel
from active_call.providers.entry_points import load_tools


class Agent:
    """Subclass it, set its attributes (of the class, or of an instance), and add methods marked with `@tool`."""

    instructions: str = ""
    """The instructions for the model; a template with the call's variables (`{{ caller }}`)."""
    greeting: str = ""
    """What the agent says at the beginning; empty: the caller begins."""
    llm: str | LlmOption | ChatModel | None = None
    """`provider/model`, the options of a model, or your own model; None: that of the default provider."""
    stt: str | AsrOption | None = None
    """The recogniser: the name or the options of a provider; None: that of the configuration."""
    tts: str | TtsOption | None = None
    """The synthesiser: the name or the options of a provider; None: that of the configuration."""
    realtime: str | RealtimeOption | None = None
    """A speech-to-speech model instead of `stt`, `llm` and `tts`: `provider`, `provider/model`, or options; None: none."""
    language: str = ""
    """The language of recogniser and synthesiser, such as `de`; empty: that of the configuration."""
    tools: Sequence[Callable[..., Any] | str] = ()
    """More tools: functions (marked with `@tool` if they have options), and names of those that installed packages offer."""
    followup: FollowupOption | None = None
    """How the agent speaks up when the caller stays silent."""

    _done: asyncio.Future[Any] | None = None

    def finish(self, result: Any = None) -> None:
        """End the conversation when the caller has heard what the agent is saying; `Call.converse` returns with `result`."""
        if self._done is not None and not self._done.done():
            self._done.set_result(result)

    # -- for Call.converse

    def begin(self, call: Call, *, interruptible: bool = True) -> tuple[BeginAgent, asyncio.Future[Any]]:
        """What the call is asked for, and what is done when the agent is finished.

        Raises RuntimeError if the agent is already in use, ConfigError for the name of tools that no package offers.
        """
        if self._done is not None:
            raise RuntimeError("this agent is already used by a conversation; create a new one for each conversation")
        self._done = asyncio.get_running_loop().create_future()
        registry, functions = ToolRegistry(), {}
        for function in (*self._own_tools(), *self._more_tools()):
            described, run = bind_tool(function, call)
            registry.register(described)
            functions[described.name] = run
        model = self.llm if self.llm is not None and not isinstance(self.llm, str | LlmOption) else None
        return BeginAgent(self._playbook(interruptible=interruptible), registry, functions, model), self._done

    def _own_tools(self) -> list[Callable[..., Any]]:
        names = [name for kind in reversed(type(self).__mro__) for name in vars(kind) if is_tool(vars(kind)[name])]
        return [getattr(self, name) for name in dict.fromkeys(names)]

    def _more_tools(self) -> Iterator[Callable[..., Any]]:
        for given in self.tools:
            if isinstance(given, str):
                yield from load_tools(given)
            else:
                yield given

    def _playbook(self, *, interruptible: bool) -> Playbook:
        """The agent as a playbook. It is trusted like the operator's files, because the program belongs to the operator."""
        book = Playbook(
            file=f"agent {type(self).__name__}",
            scenes=(Scene(id="main", line=1, text=self.instructions),),
            option=CallOption(asr=self._asr(), tts=self._tts(), realtime=self._realtime()),
            greeting=self.greeting,
            llm=self._llm_option(),
            interruption=InterruptionOption(strategy="vad" if interruptible else "none"),
            followup=self.followup,
        )
        return replace(book, trust=trust_of(book))

    def _llm_option(self) -> LlmOption:
        if isinstance(self.llm, LlmOption):
            return self.llm
        if not isinstance(self.llm, str):
            return LlmOption()
        provider, slash, model = self.llm.partition("/")  # names of models have slashes, too: meta-llama/llama-4
        return LlmOption(provider=provider or None, model=model or None) if slash else LlmOption(model=self.llm or None)

    def _realtime(self) -> RealtimeOption | None:
        if not isinstance(self.realtime, str):
            return self.realtime
        provider, _, model = self.realtime.partition("/")
        return RealtimeOption(provider=provider, model=model or None)

    def _asr(self) -> AsrOption | None:
        if isinstance(self.stt, AsrOption):
            return self.stt
        return AsrOption(provider=self.stt, language=self.language or None) if self.stt or self.language else None

    def _tts(self) -> TtsOption | None:
        if isinstance(self.tts, TtsOption):
            return self.tts
        return TtsOption(provider=self.tts, language=self.language or None) if self.tts or self.language else None
