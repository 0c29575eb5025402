"""Synthesis by a TTS class of LiveKit Agents.

A text enters its stream (or its `synthesize`, if the class has no stream), frames leave, with word times if the class reports them.
Options: `speaker`, `model`, `language`, `speed`, `emotion`, `volume`, `samplerate`, `endpoint`, `secret_key`; `extra` holds further
arguments of the constructor, and `class`. https://docs.livekit.io/agents/models/tts/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from active_call.base.errors import ActiveCallError
from active_call.codec.resample import StreamResampler
from active_call.contract.options import TtsOption
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Limits
from active_call.providers.livekit.plugin import CONNECT_S, DOCUMENTATION, FAMILY, LiveKitPlugin, PluginChoice, Wanted
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime
from active_call.providers.tts.whole_text import WholeTextStream

DEFAULT_RATE_HZ: Final = 24_000
TIMED_TRANSCRIPT: Final = "lk.timed_transcripts"
VOICE_NAMES: Final = ("voice", "voice_id", "speaker", "speaker_id", "model")

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=FAMILY,
    title="A TTS plugin of LiveKit Agents (livekit/NAME)",
    capabilities=TextToSpeechCapabilities(DEFAULT_RATE_HZ),
    transport="WebSocket",
    documentation=f"{DOCUMENTATION}tts/",
    prices=f"{DOCUMENTATION}tts/",
    options=(
        DeclaredOption("provider", "livekit/NAME: the plugin livekit-plugins-NAME, such as livekit/murf"),
        DeclaredOption("speaker, model, language, speed, emotion, volume", "passed to the plugin if it has this setting"),
        DeclaredOption("samplerate", "the rate of the sound", "24000"),
        DeclaredOption("extra.class", "another class of the plugin", "TTS"),
        DeclaredOption("extra.*", "any other argument of the class"),
    ),
    package="active-call[livekit] livekit-plugins-NAME",
    notes="For vendors without an adapter of their own. The framework takes 100 MB, and two seconds of CPU time at first use.",
)


def create(option: TtsOption, services: Services) -> LiveKitTextToSpeech:
    """The adapter. Raises ConfigError without a name, and if a package is missing."""
    named = (
        Wanted("model", option.model, ("model",)),
        Wanted("language", option.language, ("language", "language_code", "lang")),
        Wanted("emotion", option.emotion, ("emotion",)),
        Wanted("volume", option.volume, ("volume",)),
        Wanted("samplerate", option.samplerate, ("sample_rate",)),
        Wanted("endpoint", option.endpoint, ("base_url", "api_url", "ws_url")),
        Wanted("speaker", option.speaker, VOICE_NAMES),
        Wanted("speed", option.speed, ("speed",)),
    )
    wanted = tuple(one for one in named if one.value is not None)
    choice = PluginChoice("tts", option.provider or FAMILY, "TTS", wanted, option.extra, option.secret_key, option.endpoint)
    return LiveKitTextToSpeech(LiveKitPlugin(choice, services), option.samplerate or DEFAULT_RATE_HZ)


class LiveKitTextToSpeech:
    """A TTS class as a `TextToSpeech`. Its sound is resampled to `rate_hz`."""

    limits = Limits(next_result_s=5.0)

    def __init__(self, plugin: LiveKitPlugin, rate_hz: int) -> None:
        self.name = plugin.name
        self.rate_hz = rate_hz
        self.endpoint = plugin.choice.endpoint
        self._plugin = plugin

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        changes = [Wanted("speaker", speaker, VOICE_NAMES)] if speaker else []
        changes += [Wanted("speed", speed, ("speed",))] if speed is not None else []
        return WholeTextStream(lambda text: self._speak(text, changes), self.rate_hz)

    async def warm(self) -> None:
        """Import the plugin, create the instance, and let it open its connection."""
        instance = await self._plugin.instance()
        instance.prewarm()

    async def close(self) -> None:
        await self._plugin.close()

    async def _speak(self, text: str, changes: list[Wanted]) -> AsyncGenerator[SpeechChunk, None]:
        if not text.strip():
            return
        try:
            await self._plugin.check_endpoint()
            instance = await self._plugin.instance(changes)
            stream = _stream_of(instance, text)
            resampler = StreamResampler(instance.sample_rate, self.rate_hz)
            try:
                async for audio in stream:
                    pcm = resampler.push(bytes(audio.frame.data))
                    yield SpeechChunk(pcm, _words(audio.frame.userdata.get(TIMED_TRANSCRIPT)))
                yield SpeechChunk(resampler.flush())
            finally:
                await stream.aclose()
        except (ActiveCallError, GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            raise self._plugin.failure(error) from error


def _stream_of(instance: Any, text: str) -> Any:
    """The frames of `text`, by the class's stream if it has one. Does not retry: the provider wall does."""
    from livekit.agents.types import APIConnectOptions

    once = APIConnectOptions(max_retry=0, timeout=CONNECT_S)
    if not instance.capabilities.streaming:
        return instance.synthesize(text, conn_options=once)
    stream = instance.stream(conn_options=once)
    stream.push_text(text)
    stream.end_input()
    return stream


def _words(transcript: Any) -> tuple[WordTime, ...]:
    """The words of a piece with their times, if the class reports both."""
    words = []
    for one in transcript or ():
        begin, end = getattr(one, "start_time", None), getattr(one, "end_time", None)
        if str(one).strip() and isinstance(begin, int | float) and isinstance(end, int | float):
            words.append(WordTime(str(one).strip(), begin * 1000, end * 1000))
    return tuple(words)
