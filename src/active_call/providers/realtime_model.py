"""The interface of speech-to-speech models: the caller's sound enters; the agent's sound, items, transcripts and tool calls leave.

A stream is one conversation. The model keeps its history as items. After an interruption `truncate` cuts the current item to what the
caller heard. Sound is s16le mono at the rates of the capabilities. An adapter raises ConfigError for settings that it cannot use, reports
every later failure as `RealtimeFailed`, and never blocks the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.providers.chat import ToolDefinition, Usage

Speaker = Literal["user", "agent"]


class RealtimeSession(Struct, frozen=True):
    """The settings at the start of a conversation. `voice` and `language` None: the model's default."""

    instructions: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    voice: str | None = None
    language: str | None = None
    detects_turns: bool = True
    """The model decides when it replies. False: it replies only after `request_reply`."""


class AgentSound(Struct, frozen=True):
    """More of the agent's speech. It belongs to `item`."""

    item: str
    pcm: bytes


class ItemAdded(Struct, frozen=True):
    """The history has a new item. `after` is the id of the one before it, empty for the first."""

    item: str
    speaker: Speaker
    after: str = ""


class Transcript(Struct, frozen=True):
    """The text of `item`. A transcript that is not final is the whole text so far; a later one replaces it."""

    item: str
    speaker: Speaker
    text: str
    is_final: bool


class ToolRequested(Struct, frozen=True):
    """The model calls a tool. `arguments` is the JSON that the model wrote. Answer with `answer_tool(call_id, …)`."""

    item: str
    call_id: str
    name: str
    arguments: str


class ToolWithdrawn(Struct, frozen=True):
    """The model no longer wants the result of that call."""

    call_id: str


class UserTurn(Struct, frozen=True):
    """From the model's turn detector: the caller began or stopped speaking at `at_ms` of the pushed sound."""

    is_speaking: bool
    at_ms: int


class ReplyDone(Struct, frozen=True):
    """A reply is complete or was cancelled. All of its sound came before this event."""

    is_cancelled: bool = False
    usage: Usage | None = None


class RealtimeFailed(Struct, frozen=True):
    """With `is_over` the stream has ended and sends no more events; otherwise one request failed and the conversation continues."""

    error: ActiveCallError
    is_over: bool = True


RealtimeEvent = AgentSound | ItemAdded | Transcript | ToolRequested | ToolWithdrawn | UserTurn | ReplyDone | RealtimeFailed


class RealtimeStream(Protocol):
    """One conversation. All methods return at once. Events come by the callback of `open`, on the loop, never from within a method."""

    def push_audio(self, pcm: bytes) -> None:
        """The caller's sound at `input_rate_hz`. Pushed all the time."""
        ...

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        """Add an item of text: what the caller typed or pressed, or what the agent said by other means."""
        ...

    def answer_tool(self, call_id: str, output: str) -> None:
        """The result of a tool call. `request_reply` lets the model speak about it."""
        ...

    def request_reply(self, instructions: str = "") -> None:
        """Let the model speak now. `instructions`, if given, apply to this reply."""
        ...

    def cancel_reply(self) -> None:
        """End the current reply. Does nothing if there is none."""
        ...

    def truncate(self, item: str, heard_ms: int) -> None:
        """The caller heard only the first `heard_ms` of `item`: the model forgets the rest."""
        ...

    def update(self, session: RealtimeSession) -> None:
        """Change instructions, tools or settings."""
        ...

    async def close(self) -> None:
        """Free everything. No event comes after this returns."""
        ...


class RealtimeCapabilities(Struct, frozen=True):
    """What a model can do."""

    input_rate_hz: int
    output_rate_hz: int
    tools: bool = False
    turn_events: bool = False
    transcripts: bool = False
    """It sends the transcripts of both sides."""
    truncates: bool = False
    """`truncate` has an effect. False: the history keeps words that the caller did not hear."""
    speakers: tuple[str, ...] = ()


class RealtimeModel(Protocol):
    """A configured speech-to-speech model."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> RealtimeCapabilities: ...

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> RealtimeStream:
        """Begin a conversation. The connection is made in the background. Raises ConfigError for unsupported settings."""
        ...

    async def close(self) -> None: ...
