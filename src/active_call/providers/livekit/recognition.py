"""Recognition by an STT class of LiveKit Agents.

Sound (16 kHz) enters its stream all the time, its events become segments of the call's utterances; a class without a stream transcribes
utterances one by one. At the end of an utterance the stream is flushed, which makes many vendors finish at once. A final that came before
the flush is the answer if no interim text is open. Options: `model`, `language`, `keyterms`, `endpointing`, `interim`, `endpoint`,
`secret_key`; `extra` holds further arguments of the constructor, and `class`. https://docs.livekit.io/agents/models/stt/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from active_call.base.ended_tasks import cancel_and_wait
from active_call.base.errors import ActiveCallError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment, SegmentedRecognition
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.livekit.plugin import CONNECT_S, DOCUMENTATION, FAMILY, LiveKitPlugin, PluginChoice, Wanted
from active_call.providers.services import Services
from active_call.providers.speech_to_text import Failed, RecognitionEvent, RecognitionStream, SpeechToTextCapabilities, TurnChange, Word

CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True)
QUIET_S: Final = 0.3
"""If an utterance's final came before its end, further words are awaited for this long."""
MAX_WAITING_BYTES: Final = samples_in(30_000, LISTEN_RATE_HZ) * BYTES_PER_SAMPLE
"""The most sound that waits for the connection."""

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=FAMILY,
    title="An STT plugin of LiveKit Agents (livekit/NAME)",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation=f"{DOCUMENTATION}stt/",
    prices=f"{DOCUMENTATION}stt/",
    options=(
        DeclaredOption("provider", "livekit/NAME: the plugin livekit-plugins-NAME, such as livekit/clova"),
        DeclaredOption("model, language, keyterms, endpointing, interim", "passed to the plugin if it has this setting"),
        DeclaredOption("extra.class", "another class of the plugin, such as STTv2", "STT"),
        DeclaredOption("extra.*", "any other argument of the class"),
    ),
    package="active-call[livekit] livekit-plugins-NAME",
    notes="For vendors without an adapter of their own. The framework takes 100 MB, and two seconds of CPU time at first use.",
)


def create(option: AsrOption, services: Services) -> LiveKitSpeechToText:
    """The adapter. Raises ConfigError without a name, and if a package is missing."""
    named = (
        Wanted("model", option.model_type, ("model",)),
        Wanted("language", option.language, ("language", "languages", "language_code")),
        Wanted("keyterms", option.keyterms, ("keyterms", "keyterm", "keyterms_prompt")),
        Wanted("endpointing", option.endpointing, ("endpointing_ms",)),
        Wanted("interim", option.interim, ("interim_results",)),
        Wanted("endpoint", option.endpoint, ("base_url", "api_url", "ws_url")),
    )
    wanted = tuple(one for one in named if one.value is not None)
    choice = PluginChoice("asr", option.provider or FAMILY, "STT", wanted, option.extra, option.secret_key, option.endpoint)
    return LiveKitSpeechToText(LiveKitPlugin(choice, services))


class LiveKitSpeechToText:
    """An STT class as a `SpeechToText`."""

    capabilities = CAPABILITIES

    def __init__(self, plugin: LiveKitPlugin) -> None:
        self.name = plugin.name
        self._plugin = plugin

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> RecognitionStream:
        return _Beginning(self._plugin, on_event, language)

    async def warm(self) -> None:
        """Import the plugin, create the instance, and let it open its connection."""
        (await self._plugin.instance()).prewarm()

    async def close(self) -> None:
        await self._plugin.close()


class _Beginning:
    """A stream until the class is loaded, which shows whether it streams; then everything is passed to the matching stream."""

    def __init__(self, plugin: LiveKitPlugin, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        self._plugin = plugin
        self._on_event = on_event
        self._language = language
        self._waiting: list[Callable[[RecognitionStream], None]] = []
        self._waiting_bytes = 0
        self._inner: RecognitionStream | None = None
        self._is_closed = False
        self._task = asyncio.get_running_loop().create_task(self._begin(), name="livekit recognition begins")

    async def _begin(self) -> None:
        try:
            await self._plugin.check_endpoint()
            stt = await self._plugin.instance()
            inner: RecognitionStream
            if stt.capabilities.streaming:
                inner = LiveKitRecognition(self._plugin, stt, self._on_event, self._language)
            else:
                inner = UtteranceRecognition(_Transcriber(self._plugin, stt, self._language), self._on_event)
        except Exception as error:  # noqa: BLE001 - a plugin's own code
            if not self._is_closed:
                self._on_event(Failed(self._plugin.failure(error)))
            return
        self._inner = inner
        for call in self._waiting:
            call(inner)
        self._waiting.clear()

    def _do(self, call: Callable[[RecognitionStream], None]) -> None:
        if self._inner is not None:
            call(self._inner)
        elif not self._is_closed:
            self._waiting.append(call)

    def push_audio(self, pcm: bytes, sample: int) -> None:
        if self._inner is None:
            self._waiting_bytes += len(pcm)
            if self._waiting_bytes > MAX_WAITING_BYTES:
                return
        self._do(lambda stream: stream.push_audio(pcm, sample))

    def start_utterance(self, index: int, sample: int) -> None:
        self._do(lambda stream: stream.start_utterance(index, sample))

    def end_utterance(self, index: int, sample: int) -> None:
        self._do(lambda stream: stream.end_utterance(index, sample))

    def cancel_utterance(self, index: int) -> None:
        self._do(lambda stream: stream.cancel_utterance(index))

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._do(lambda stream: stream.expect_phrases(phrases))

    async def close(self) -> None:
        self._is_closed = True
        await cancel_and_wait(self._task)
        if self._inner is not None:
            await self._inner.close()


class LiveKitRecognition(SegmentedRecognition):
    """A caller's stream over the class's stream."""

    acknowledges = False

    def __init__(self, plugin: LiveKitPlugin, stt: Any, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(on_event)
        from livekit.agents.types import APIConnectOptions

        self._plugin = plugin
        settings: dict[str, Any] = {"conn_options": APIConnectOptions(max_retry=0, timeout=CONNECT_S)}
        if language and language.lower() != "auto":
            settings["language"] = language
        self._stream = stt.stream(**settings)
        self._task = self._loop.create_task(self._listen(), name="livekit recognition")

    def send_audio(self, pcm: bytes) -> None:
        self._stream.push_frame(_frame(pcm))

    def ask_final(self) -> None:
        self._stream.flush()
        self._loop.call_later(QUIET_S, self._settle_if_quiet, self._asked[-1][0])

    async def disconnect(self) -> None:
        await cancel_and_wait(self._task)

    def _settle_if_quiet(self, index: int) -> None:
        """The vendor finished before it was asked, and has no interim text."""
        utterance = self._find(index)
        if utterance is not None and self._interim is None and any(utterance.holds(segment) for segment in self._segments):
            self._settle(index)

    async def _listen(self) -> None:
        from livekit.agents.stt import SpeechEventType

        try:
            async for event in self._stream:
                match event.type:
                    case SpeechEventType.INTERIM_TRANSCRIPT | SpeechEventType.PREFLIGHT_TRANSCRIPT if event.alternatives:
                        self.note_interim(self._segment(event.alternatives[0]))
                    case SpeechEventType.FINAL_TRANSCRIPT if event.alternatives:
                        self.note_final(self._segment(event.alternatives[0]))
                    case SpeechEventType.START_OF_SPEECH:
                        self.note_turn(TurnChange.STARTED, self.to_sample(self._sent))
                    case _:
                        pass  # END_OF_SPEECH is a pause detected by the vendor, not the end of a turn
            self.fail(ProviderError(self._plugin.name, "the stream has ended", retryable=True))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's own code
            self.fail(self._plugin.failure(error))
        finally:
            await self._stream.aclose()

    def _segment(self, data: Any) -> Segment:
        start, end = self._sample(data.start_time), self._sample(data.end_time)
        words = tuple(
            Word(str(word).strip(), begin, max(begin, over))
            for word in data.words or ()
            if (begin := self._sample(getattr(word, "start_time", None))) is not None
            and (over := self._sample(getattr(word, "end_time", None))) is not None
        )
        is_timed = start is not None and end is not None and end > start
        confidence = data.confidence if isinstance(data.confidence, int | float) and 0 < data.confidence <= 1 else None
        return Segment(str(data.text), start if is_timed else None, end if is_timed else None, confidence, words)

    def _sample(self, seconds: Any) -> int | None:
        return self.to_sample(seconds * LISTEN_RATE_HZ) if isinstance(seconds, int | float) and seconds >= 0 else None


class _Transcriber:
    """Recognition by `recognize`, for a class without a stream."""

    def __init__(self, plugin: LiveKitPlugin, stt: Any, language: str | None) -> None:
        self._plugin = plugin
        self._stt = stt
        self._language = language

    async def __call__(self, utterance: Utterance) -> Transcript:
        from livekit.agents.types import APIConnectOptions

        settings: dict[str, Any] = {"conn_options": APIConnectOptions(max_retry=0, timeout=CONNECT_S)}
        if self._language and self._language.lower() != "auto":
            settings["language"] = self._language
        try:
            event = await self._stt.recognize(_frame(utterance.pcm), **settings)
        except ActiveCallError:
            raise
        except Exception as error:
            raise self._plugin.failure(error) from error
        text = " ".join(str(one.text).strip() for one in event.alternatives[:1])
        return Transcript(text)


def _frame(pcm: bytes) -> Any:
    from livekit import rtc

    return rtc.AudioFrame(pcm, LISTEN_RATE_HZ, 1, len(pcm) // BYTES_PER_SAMPLE)
