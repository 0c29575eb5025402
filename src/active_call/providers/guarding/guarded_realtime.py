"""The provider wall of a speech-to-speech model: its events are checked before the call uses them, and no method of a stream raises.

Events of any shape enter; events with whole samples, valid Unicode and known numbers leave. After `RealtimeFailed` with `is_over`, no
event follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.repair import valid_unicode
from active_call.base.world import World
from active_call.providers.chat import Usage
from active_call.providers.guarding.guard import Guard, limits_of
from active_call.providers.guarding.guarded_chat import checked_usage
from active_call.providers.realtime_model import (
    AgentSound,
    ItemAdded,
    RealtimeEvent,
    RealtimeFailed,
    RealtimeModel,
    RealtimeSession,
    RealtimeStream,
    ReplyDone,
    Speaker,
    ToolRequested,
    ToolWithdrawn,
    Transcript,
    UserTurn,
)
from active_call.providers.sources import warm
from active_call.providers.usage.billing import billed_by
from active_call.providers.usage.metering import current_meter
from active_call.providers.usage.speech_usage import RealtimeMeter
from active_call.providers.vendor_values import text_of

logger = logging.getLogger(__name__)

MAX_TEXT_CHARS = 200_000
"""The longest transcript, and the longest arguments of one call."""
MAX_ID_CHARS = 256
MAX_MS = 7 * 24 * 3600 * 1000


class GuardedRealtimeModel:
    """A speech-to-speech model behind the wall."""

    def __init__(self, inner: RealtimeModel, world: World, *, default_model: str = "") -> None:
        self.name = inner.name
        self.billed = billed_by("realtime", inner, default_model)
        self.capabilities = inner.capabilities
        self.guard = Guard(inner.name, world, limits_of(inner))
        self.inner = inner

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> GuardedRealtimeStream:
        """Raises ActiveCallError."""
        stream = GuardedRealtimeStream(self, on_event)
        try:
            stream.attach(self.inner.open(session, stream.handle))
        except ActiveCallError:
            raise
        except Exception as error:  # the provider wall
            raise _unforeseen(self.name, error) from error
        return stream

    async def warm(self) -> None:
        """Load the model."""
        await warm(self.inner)

    async def close(self) -> None:
        await self.inner.close()


class GuardedRealtimeStream:
    """One conversation. It holds a reference to its model."""

    def __init__(self, model: GuardedRealtimeModel, on_event: Callable[[RealtimeEvent], None]) -> None:
        self._model = model
        self._on_event = on_event
        self._inner: RealtimeStream | None = None
        self._is_over = False
        self._halves: dict[str, bytes] = {}
        """For each item, the first half of a sample whose second half has not come yet."""
        rates = model.capabilities
        self._used = RealtimeMeter(model.billed, rates.input_rate_hz, rates.output_rate_hz, current_meter())

    def attach(self, inner: RealtimeStream) -> None:
        """Set the adapter's stream. Called once, before anything else."""
        self._inner = inner

    def push_audio(self, pcm: bytes) -> None:
        if not self._is_over:
            self._used.heard(len(pcm))
        self._do(lambda stream: stream.push_audio(pcm))

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        self._do(lambda stream: stream.push_text(valid_unicode(text), speaker))

    def answer_tool(self, call_id: str, output: str) -> None:
        self._do(lambda stream: stream.answer_tool(call_id, valid_unicode(output)))

    def request_reply(self, instructions: str = "") -> None:
        self._do(lambda stream: stream.request_reply(valid_unicode(instructions)))

    def cancel_reply(self) -> None:
        self._do(lambda stream: stream.cancel_reply())

    def truncate(self, item: str, heard_ms: int) -> None:
        self._do(lambda stream: stream.truncate(item, max(0, heard_ms)))

    def update(self, session: RealtimeSession) -> None:
        self._do(lambda stream: stream.update(session))

    async def close(self) -> None:
        self._is_over = True
        self._used.close()
        try:
            if self._inner is not None:
                await self._inner.close()
        except Exception as error:
            logger.warning("provider failed", extra={"provider": self._model.name, "reason": str(error)}, exc_info=error)

    def handle(self, event: Any) -> None:
        """Pass on a valid event of the adapter; report one without usable content as a failed request."""
        if self._is_over:
            return
        try:
            checked = self._checked(event)
        except ProviderError as error:
            checked = RealtimeFailed(error, is_over=False)
        if isinstance(checked, RealtimeFailed) and checked.is_over:
            self._is_over = True
            self._model.guard.note_outage()
        if checked is not None:
            self._on_event(checked)

    def _do(self, work: Callable[[RealtimeStream], None]) -> None:
        if self._inner is None or self._is_over:
            return
        try:
            work(self._inner)
        except Exception as error:
            logger.warning("provider failed", extra={"provider": self._model.name, "reason": str(error)}, exc_info=error)
            self.handle(RealtimeFailed(error if isinstance(error, ActiveCallError) else _unforeseen(self._model.name, error)))

    def _checked(self, event: Any) -> RealtimeEvent | None:
        match event:
            case AgentSound(item, pcm):
                return self._sound(_id(item), pcm)
            case ItemAdded(item, speaker, after):
                return ItemAdded(_id(item), _speaker(speaker), _id(after))
            case Transcript(item, speaker, text, is_final):
                return Transcript(_id(item), _speaker(speaker), _text(text), bool(is_final))
            case ToolRequested(item, call_id, name, arguments):
                return ToolRequested(_id(item), _id(call_id), _id(name), _text(arguments))
            case ToolWithdrawn(call_id):
                return ToolWithdrawn(_id(call_id))
            case UserTurn(is_speaking, at_ms):
                return UserTurn(bool(is_speaking), _ms(at_ms))
            case ReplyDone(is_cancelled, usage):
                done = ReplyDone(bool(is_cancelled), checked_usage(usage) if isinstance(usage, Usage) else None)
                self._used.reply_done(done.usage)
                return done
            case RealtimeFailed() if isinstance(event.error, ActiveCallError):
                return event
            case _:
                raise ProviderError(self._model.name, f"unexpected event: {type(event).__name__}")

    def _sound(self, item: str, pcm: Any) -> AgentSound | None:
        """Whole samples; None if there is none yet."""
        if not isinstance(pcm, bytes | bytearray | memoryview):
            raise ProviderError(self._model.name, f"sent {type(pcm).__name__} instead of sound")
        sound = self._halves.pop(item, b"") + bytes(pcm)
        n_even = len(sound) & ~1
        if sound[n_even:]:
            self._halves = {item: sound[n_even:]}
        self._used.spoke(n_even)
        return AgentSound(item, sound[:n_even]) if n_even else None


def _unforeseen(provider: str, error: Exception) -> ProviderError:
    return ProviderError(provider, f"unforeseen {type(error).__name__}: {error}")


def _id(value: Any) -> str:
    return valid_unicode(text_of(value))[:MAX_ID_CHARS]


def _text(value: Any) -> str:
    return valid_unicode(text_of(value))[:MAX_TEXT_CHARS]


def _ms(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_MS else 0


def _speaker(value: Any) -> Speaker:
    return "user" if value == "user" else "agent"
