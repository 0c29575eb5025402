"""Synthesis and replies with fallback engines: when one fails before its first result, the next one gets the same request.

Every engine here stands behind its own wall (`guard`), which retries and refuses at once while the engine's circuit is open. After a first
result nothing is requested twice, because the caller has heard it. With `hedge_after_s` the next engine is also asked when the current one
is slow (`hedge`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol, TypeVar

from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.codec.resample import StreamResampler
from active_call.providers.chat import ChatEvent, ChatModel, ReplyRequest, TextDelta, ToolCallDelta
from active_call.providers.guarding.hedge import Hedge
from active_call.providers.sources import close_source, connect_ahead, warm
from active_call.providers.speech.recorded_text import RecordedText
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeech

logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")


class Named(Protocol):
    """How a log line names an engine."""

    @property
    def name(self) -> str: ...


def log_failover(kind: str, provider: str, fallback: str, reason: str) -> None:
    """Log that `fallback` is asked in place of `provider`."""
    logger.warning("failed over to the next provider", extra={"kind": kind, "provider": provider, "fallback": fallback, "reason": reason})


async def first_usable(kind: str, engines: Sequence[Named], hedge: Hedge[_Item]) -> AsyncGenerator[_Item, None]:
    """The output of the engine whose usable result came first; logged if it is not the first engine."""
    is_told = False
    async with aclosing(hedge.run()) as items:
        async for number, item in items:
            if number and not is_told:
                is_told = True
                log_failover(kind, engines[0].name, engines[number].name, "was slower")
            yield item


class FailoverTextToSpeech:
    """A synthesis engine with fallbacks. The sound has the first engine's rate, whichever engine speaks."""

    def __init__(self, engines: Sequence[TextToSpeech], hedge_after_s: float | None = None) -> None:
        self.engines = tuple(engines)
        self.hedge_after_s = hedge_after_s
        self.name = self.engines[0].name
        self.capabilities = self.engines[0].capabilities

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> FailoverSynthesis:
        return FailoverSynthesis(self.engines, speaker, speed, self.hedge_after_s)

    async def connect_ahead(self) -> None:
        """Open a connection for the next text of the first engine."""
        await connect_ahead(self.engines[0])

    async def warm(self) -> None:
        """Load the engines' models."""
        for engine in self.engines:
            await warm(engine)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()


class FailoverSynthesis:
    """One stream. `speaker` is a voice of the first engine; a fallback uses its own."""

    def __init__(
        self, engines: Sequence[TextToSpeech], speaker: str | None, speed: float | None, hedge_after_s: float | None = None
    ) -> None:
        self._engines = engines
        self._speaker = speaker
        self._speed = speed
        self._text = RecordedText()
        self._hedge: Hedge[SpeechChunk] | None = None
        if hedge_after_s is not None and len(engines) > 1:
            sources = [partial(self._spoken_by, number) for number in range(len(engines))]
            self._hedge = Hedge(sources, hedge_after_s, lambda chunk: bool(chunk.pcm))
        self._chunks = self._speak() if self._hedge is None else first_usable("tts", self._engines, self._hedge)

    def push_text(self, text: str) -> None:
        self._text.push_text(text)

    def flush(self) -> None:
        self._text.flush()
        self._ask()

    def end_text(self) -> None:
        self._text.end_text()
        self._ask()

    def _ask(self) -> None:
        if self._hedge is not None:
            self._hedge.asked()

    def __aiter__(self) -> FailoverSynthesis:
        return self

    async def __anext__(self) -> SpeechChunk:
        return await anext(self._chunks)

    async def cancel(self) -> None:
        await self._chunks.aclose()

    async def _speak(self) -> AsyncGenerator[SpeechChunk, None]:
        last = len(self._engines) - 1
        for number, engine in enumerate(self._engines):
            has_begun = False
            source = self._spoken_by(number)
            try:
                async for chunk in source:
                    has_begun = True
                    yield chunk
                return
            except ProviderError as error:
                if has_begun or number == last:
                    raise
                log_failover("tts", engine.name, self._engines[number + 1].name, error.reason)
            finally:
                await source.aclose()

    async def _spoken_by(self, number: int) -> AsyncGenerator[SpeechChunk, None]:
        """The sound of one engine, at the first engine's rate."""
        engine = self._engines[number]
        stream = engine.open(speaker=None if number else self._speaker, speed=self._speed)
        convert = _Substitute(engine, self._engines[0]) if number else None
        try:
            self._text.attach(stream)
            async for chunk in stream:
                yield convert.feed(chunk) if convert is not None else chunk
            if convert is not None and (rest := convert.finish()).pcm:
                yield rest
        finally:
            self._text.detach(stream)
            await stream.cancel()


class _Substitute:
    """Chunks of a fallback engine, at the requested engine's rate."""

    def __init__(self, engine: TextToSpeech, asked: TextToSpeech) -> None:
        self._resampler = StreamResampler(engine.capabilities.rate_hz, asked.capabilities.rate_hz)

    def feed(self, chunk: SpeechChunk) -> SpeechChunk:
        return replace(chunk, pcm=self._resampler.push(chunk.pcm), is_substitute=True)

    def finish(self) -> SpeechChunk:
        return SpeechChunk(self._resampler.flush(), is_substitute=True)


class FailoverChatModel:
    """A language model with fallbacks."""

    def __init__(self, models: Sequence[ChatModel], hedge_after_s: float | None = None) -> None:
        self.models = tuple(models)
        self.hedge_after_s = hedge_after_s
        self.name = self.models[0].name
        self.capabilities = self.models[0].capabilities

    def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        if self.hedge_after_s is None or len(self.models) < 2:
            return self._reply(request)
        hedge = Hedge([partial(model.reply, request) for model in self.models], self.hedge_after_s, _is_usable)
        hedge.asked()
        return first_usable("llm", self.models, hedge)

    async def _reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        last = len(self.models) - 1
        for number, model in enumerate(self.models):
            has_begun = False
            stream = model.reply(request)
            try:
                async for event in stream:
                    has_begun = True
                    yield event
                return
            except ProviderError as error:
                if has_begun or number == last:
                    raise
                log_failover("llm", model.name, self.models[number + 1].name, error.reason)
            finally:
                await close_source(stream)

    async def connect_ahead(self) -> None:
        """Open a connection for the next request to the first model."""
        await connect_ahead(self.models[0])

    async def warm(self) -> None:
        """Load the models."""
        for model in self.models:
            await warm(model)

    async def close(self) -> None:
        for model in self.models:
            await model.close()


def _is_usable(event: ChatEvent) -> bool:
    """Whether the agent can use this event."""
    return isinstance(event, ToolCallDelta) or (isinstance(event, TextDelta) and bool(event.text.strip()))
