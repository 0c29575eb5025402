"""Synthesis and replies with fallback engines: when one fails before its first result, the next one is asked the same.

Every engine here stands behind its own wall (`guard`), which repeats what may be repeated and refuses at once while the engine is out of
order. Nothing is asked twice after a first result, since the caller has heard it already.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from active_call.base.errors import ProviderError
from active_call.codec.resample import StreamResampler
from active_call.providers.chat import ChatEvent, ChatModel, ReplyRequest
from active_call.providers.sources import close_source, warm
from active_call.providers.speech.recorded_text import RecordedText
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeech

logger = logging.getLogger(__name__)


def log_failover(kind: str, provider: str, fallback: str, reason: str) -> None:
    """Say that `fallback` is asked in place of `provider`."""
    logger.warning("failed over to the next provider", extra={"kind": kind, "provider": provider, "fallback": fallback, "reason": reason})


class FailoverTextToSpeech:
    """A synthesis engine with fallbacks. Its sound has the first engine's rate, whichever engine speaks."""

    def __init__(self, engines: Sequence[TextToSpeech]) -> None:
        self.engines = tuple(engines)
        self.name = self.engines[0].name
        self.capabilities = self.engines[0].capabilities

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> FailoverSynthesis:
        return FailoverSynthesis(self.engines, speaker, speed)

    async def warm(self) -> None:
        """Load what the engines load at first use."""
        for engine in self.engines:
            await warm(engine)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()


class FailoverSynthesis:
    """One stream. `speaker` is a voice of the first engine; a fallback speaks with its own."""

    def __init__(self, engines: Sequence[TextToSpeech], speaker: str | None, speed: float | None) -> None:
        self._engines = engines
        self._speaker = speaker
        self._speed = speed
        self._text = RecordedText()
        self._chunks = self._speak()

    def push_text(self, text: str) -> None:
        self._text.push_text(text)

    def flush(self) -> None:
        self._text.flush()

    def end_text(self) -> None:
        self._text.end_text()

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
            stream = engine.open(speaker=None if number else self._speaker, speed=self._speed)
            convert = _Substitute(engine, self._engines[0]) if number else None
            try:
                self._text.attach(stream)
                async for chunk in stream:
                    has_begun = True
                    yield convert.feed(chunk) if convert is not None else chunk
                if convert is not None and (rest := convert.finish()).pcm:
                    yield rest
                return
            except ProviderError as error:
                if has_begun or number == last:
                    raise
                log_failover("tts", engine.name, self._engines[number + 1].name, error.reason)
            finally:
                await self._end(stream)

    async def _end(self, stream: SynthesisStream) -> None:
        self._text.detach(stream)
        await stream.cancel()


class _Substitute:
    """Chunks of a fallback engine, at the rate of the engine that was asked."""

    def __init__(self, engine: TextToSpeech, asked: TextToSpeech) -> None:
        self._resampler = StreamResampler(engine.capabilities.rate_hz, asked.capabilities.rate_hz)

    def feed(self, chunk: SpeechChunk) -> SpeechChunk:
        return replace(chunk, pcm=self._resampler.push(chunk.pcm), is_substitute=True)

    def finish(self) -> SpeechChunk:
        return SpeechChunk(self._resampler.flush(), is_substitute=True)


class FailoverChatModel:
    """A language model with fallbacks."""

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self.models = tuple(models)
        self.name = self.models[0].name
        self.capabilities = self.models[0].capabilities

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
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

    async def warm(self) -> None:
        """Load what the models load at first use."""
        for model in self.models:
            await warm(model)

    async def close(self) -> None:
        for model in self.models:
            await model.close()
