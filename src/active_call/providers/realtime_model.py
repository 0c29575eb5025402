"""The interface of speech-to-speech models: the caller's sound enters; the agent's sound, items, transcripts and tool calls leave.

A stream is one conversation. The model keeps its history as items; `truncate` cuts the item that the caller interrupted to what was heard.
Sound is s16le mono at the rates of the capabilities. An adapter raises ConfigError for settings that it cannot use, reports everything that
goes wrong later as `RealtimeFailed`, and never blocks the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from active_call.base.errors import ActiveCallError
from active_call.providers.chat import ToolDefinition, Usage

Speaker = Literal["user", "agent"]


@dataclass(frozen=True, slots=True)
class RealtimeSession:
    """How a conversation begins. `voice` and `language` None: the model's own."""

    instructions: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    voice: str | None = None
    language: str | None = None
    detects_turns: bool = True
    """The model decides when it replies. False: it replies to `request_reply` only."""


@dataclass(frozen=True, slots=True)
class AgentSound:
    """More of the agent's speech, which belongs to `item`."""

    item: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """The history has a new item. `after` is the id of the one before it, empty for the first."""

    item: str
    speaker: Speaker
    after: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What `item` says. A transcript that is not final is the whole text so far, and a later one replaces it."""

    item: str
    speaker: Speaker
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class ToolRequested:
    """The model calls a tool. `arguments` is JSON as the model wrote it. `answer_tool(call_id, …)` answers."""

    item: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolWithdrawn:
    """The model no longer wants the result of that call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class UserTurn:
    """The model's turn detector: the caller began to speak at `at_ms` of the pushed sound, or ended."""

    is_speaking: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """A reply is complete, or was cancelled. All of its sound came before."""

    is_cancelled: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class RealtimeFailed:
    """With `is_over`, the stream has ended and tells no more; else one request failed and the conversation goes on."""

    error: ActiveCallError
    is_over: bool = True


RealtimeEvent = AgentSound | ItemAdded | Transcript | ToolRequested | ToolWithdrawn | UserTurn | ReplyDone | RealtimeFailed


class RealtimeStream(Protocol):
    """One conversation. All methods return at once; events come by the callback of `open`, from the loop and never from within a call."""

    def push_audio(self, pcm: bytes) -> None:
        """The caller's sound at `input_rate_hz`, all the time."""
        ...

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        """An item of text: something that the caller typed or pressed, or that the agent said by other means."""
        ...

    def answer_tool(self, call_id: str, output: str) -> None:
        """The result of a tool call. `request_reply` lets the model speak about it."""
        ...

    def request_reply(self, instructions: str = "") -> None:
        """Let the model speak now, by `instructions` for this reply where they are given."""
        ...

    def cancel_reply(self) -> None:
        """End the reply in the making. Nothing happens if there is none."""
        ...

    def truncate(self, item: str, heard_ms: int) -> None:
        """The caller heard only the first `heard_ms` of `item`: the model forgets the rest."""
        ...

    def update(self, session: RealtimeSession) -> None:
        """Other instructions, tools or settings from now on."""
        ...

    async def close(self) -> None:
        """Free everything. No event comes after this returns."""
        ...


@dataclass(frozen=True, slots=True)
class RealtimeCapabilities:
    """What a model can do."""

    input_rate_hz: int
    output_rate_hz: int
    tools: bool = False
    turn_events: bool = False
    transcripts: bool = False
    """It tells the transcripts of both sides."""
    truncates: bool = False
    """`truncate` has an effect. False: the history holds words that the caller did not hear."""
    speakers: tuple[str, ...] = ()


class RealtimeModel(Protocol):
    """A configured speech-to-speech model."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> RealtimeCapabilities: ...

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> RealtimeStream:
        """Begin a conversation; the connection is made in the background. Raises ConfigError for settings that are not served."""
        ...

    async def close(self) -> None: ...
