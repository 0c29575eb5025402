"""The interface of language models: messages and tools enter; text, tool calls and usage leave as the model writes them.

An adapter raises ConfigError for settings that it cannot use, raises ProviderError from the iteration for every later failure, and never
blocks the loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field


class ToolCall(Struct, frozen=True):
    """A call of a tool by the model. `arguments` is the JSON that the model wrote; it may be invalid."""

    id: str
    name: str
    arguments: str


class ChatMessage(Struct, frozen=True):
    """One message to a model: `role` is system, user, assistant or tool.

    An assistant's message may hold `tool_calls`. A tool's message answers the call `tool_call_id`.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class ToolDefinition(Struct, frozen=True):
    """A tool that the model may call. `parameters` is a JSON schema of type object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


class ReplyRequest(Struct, frozen=True):
    """A request to a model. `scene` is the name of the current scene, for logs."""

    messages: tuple[ChatMessage, ...]
    scene: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    on_progress: Callable[[], None] = lambda: None
    """The adapter calls this when the model is working and has written nothing yet (a reasoning model). It extends the deadline."""
    rest_s: Callable[[], float] = lambda: 0.0
    """For how long, in seconds, the adapter may leave the vendor's stream unread, asked before each read: the reader needs nothing soon."""
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a tool; None leaves it to the vendor."""
    json: bool = False
    """The reply is one JSON object."""
    parallel_tool_calls: bool | None = None
    """Whether one reply may call several tools; None leaves it to the vendor. Sent only to servers that accept it."""


class TextDelta(Struct, frozen=True):
    """More of the reply's text."""

    text: str


class ToolCallDelta(Struct, frozen=True):
    """More of tool call number `index` of this reply. `id` and `name` come with its first delta and are empty in later ones."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


class Usage(Struct, frozen=True):
    """The tokens that the reply used. The last event of a reply counts."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    """Input tokens that the vendor read from its cache."""
    reasoning_tokens: int = 0
    """Output tokens used for reasoning."""
    audio_input_tokens: int = 0
    """Input tokens that encode sound."""
    cached_audio_tokens: int = 0
    """Cached input tokens that encode sound."""
    audio_output_tokens: int = 0
    """Output tokens that encode sound."""


class Finished(Struct, frozen=True):
    """Why the model stopped, in the vendor's word: `stop`, `length`, `tool_calls`, `content_filter`. Usage may follow."""

    reason: str


ChatEvent = TextDelta | ToolCallDelta | Usage | Finished


class ChatStream(Protocol):
    """The events of one reply. An async generator of events satisfies this."""

    def __aiter__(self) -> AsyncIterator[ChatEvent]: ...

    async def __anext__(self) -> ChatEvent: ...

    async def aclose(self) -> None:
        """Stop reading and end the request. Called from the task that iterates."""
        ...


class ChatModelCapabilities(Struct, frozen=True):
    """What a model can do."""

    tools: bool = False
    json: bool = False
    """It obeys `ReplyRequest.json`."""
    usage: bool = False
    """It reports `Usage`."""
    functions: bool = False
    """It calls tools reliably, so the agent offers its own actions as functions instead of tags."""


class ChatModel(Protocol):
    """A configured language model."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> ChatModelCapabilities: ...

    def reply(self, request: ReplyRequest) -> ChatStream:
        """Stream the model's reply."""
        ...

    async def close(self) -> None: ...


async def text_of_reply(model: ChatModel, request: ReplyRequest) -> AsyncGenerator[str, None]:
    """Only the text of a reply, streamed. Closing the generator cancels the request. Raises ProviderError."""
    stream = model.reply(request)
    try:
        async for event in stream:
            if isinstance(event, TextDelta):
                yield event.text
    finally:
        await stream.aclose()


def tool_calls_in(deltas: list[ToolCallDelta]) -> tuple[ToolCall, ...]:
    """The tool calls that `deltas` add up to, by index. A call without a name is left out."""
    parts: dict[int, list[ToolCallDelta]] = {}
    for delta in deltas:
        parts.setdefault(delta.index, []).append(delta)
    calls = []
    for index, of_one in sorted(parts.items()):
        name = "".join(delta.name for delta in of_one)
        if name:
            call_id = next((delta.id for delta in of_one if delta.id), f"call_{index}")
            calls.append(ToolCall(call_id, name, "".join(delta.arguments for delta in of_one)))
    return tuple(calls)
