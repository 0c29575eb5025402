"""The provider wall of a language model: the adapter may yield anything; valid events leave, or one ProviderError in time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.base.repair import valid_unicode
from active_call.base.world import World
from active_call.providers.chat import (
    ChatEvent,
    ChatMessage,
    ChatModel,
    Finished,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from active_call.providers.guarding.guard import Guard, ResultDeadline, limits_of
from active_call.providers.sources import close_source, connect_ahead, warm
from active_call.providers.usage.billing import billed_by
from active_call.providers.usage.metering import Meter, current_meter
from active_call.providers.usage.token_usage import ReplyMeter
from active_call.providers.vendor_values import TextRepair, text_of

MAX_REPLY_CHARS = 200_000
"""The most characters of text and tool calls. This is hours of speech: the model is in a loop."""
MAX_TOOL_CALLS = 64
"""The most tool calls in one reply."""
MAX_TOKENS = 10**9


class GuardedChatModel:
    """A language model behind the wall."""

    def __init__(self, inner: ChatModel, world: World, *, attempts: int | None = None, default_model: str = "") -> None:
        self.name = inner.name
        self.billed = billed_by("llm", inner, default_model)
        self.capabilities = inner.capabilities
        self.guard = Guard(inner.name, world, limits_of(inner, attempts))
        self.inner = inner

    def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        deadline = ResultDeadline(self.guard.limits.next_result_s)
        request, meter = replace(_valid(request), on_progress=deadline.extend), current_meter()
        return self.guard.stream(lambda: self._checked(request, meter), deadline)

    async def _checked(self, request: ReplyRequest, meter: Meter) -> AsyncGenerator[ChatEvent, None]:
        """One attempt. Its usage is reported at its end, however it ends."""
        check, used, was_refused = ReplyCheck(self.name), ReplyMeter(self.billed, request, meter), False
        source = self.inner.reply(request)
        try:
            async for event in source:
                for checked in check.feed(event):
                    used.note(checked)
                    yield checked
        except Exception:
            was_refused = True
            raise
        finally:
            used.close(was_refused=was_refused)
            await close_source(source)
        for checked in check.finish():
            yield checked

    async def connect_ahead(self) -> None:
        """Open a connection for the next request."""
        await connect_ahead(self.inner)

    async def warm(self) -> None:
        """Load the engine's models."""
        await warm(self.inner)

    async def close(self) -> None:
        await self.inner.close()


class ReplyCheck:
    """Validates the events of one reply. Raises ProviderError for a reply without an end, and for a value that is not an event."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._text = TextRepair()
        self._arguments: dict[int, TextRepair] = {}
        self._n_chars = 0

    def feed(self, event: Any) -> Iterator[ChatEvent]:
        match event:
            case TextDelta():
                text = self._text.feed(text_of(event.text))
                self._count(text)
                if text:
                    yield TextDelta(text)
            case ToolCallDelta():
                yield from self._tool_call(event)
            case Usage():
                yield checked_usage(event)
            case Finished():
                yield Finished(valid_unicode(text_of(event.reason))[:64])
            case _:
                raise ProviderError(self._provider, f"unexpected event: {type(event).__name__}")

    def finish(self) -> Iterator[ChatEvent]:
        if rest := self._text.finish():
            yield TextDelta(rest)
        for index, repair in self._arguments.items():
            if rest := repair.finish():
                yield ToolCallDelta(index, rest)

    def _tool_call(self, event: ToolCallDelta) -> Iterator[ChatEvent]:
        index: Any = event.index
        if not isinstance(index, int) or index < 0:
            raise ProviderError(self._provider, f"a tool call has an invalid index: {index!r}")
        repair = self._arguments.setdefault(index, TextRepair())
        if len(self._arguments) > MAX_TOOL_CALLS:
            raise ProviderError(self._provider, f"more than {MAX_TOOL_CALLS} tool calls in one reply")
        arguments = repair.feed(text_of(event.arguments))
        call_id, name = (valid_unicode(text_of(value))[:256] for value in (event.id, event.name))
        self._count(arguments)
        if arguments or call_id or name:
            yield ToolCallDelta(index, arguments, call_id, name)

    def _count(self, text: str) -> None:
        self._n_chars += len(text)
        if self._n_chars > MAX_REPLY_CHARS:
            raise ProviderError(self._provider, "the reply is too long")


def checked_usage(usage: Usage) -> Usage:
    """`usage` with valid numbers."""
    return Usage(*(_tokens(getattr(usage, name)) for name in Usage.__struct_fields__))


def _tokens(value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(min(value, MAX_TOKENS)) if is_number and value >= 0 else 0


def _valid(request: ReplyRequest) -> ReplyRequest:
    """`request` with valid Unicode in its messages, which every vendor requires."""
    return replace(request, messages=tuple(map(_valid_message, request.messages)))


def _valid_message(message: ChatMessage) -> ChatMessage:
    calls = tuple(ToolCall(valid_unicode(call.id), valid_unicode(call.name), valid_unicode(call.arguments)) for call in message.tool_calls)
    return ChatMessage(message.role, valid_unicode(message.content), calls, message.tool_call_id)
