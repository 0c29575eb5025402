"""Synthesis by Alibaba Cloud's DashScope (Model Studio): CosyVoice.

Wire: https://www.alibabacloud.com/help/en/model-studio/cosyvoice-websocket-api and …/cosyvoice-server-events. `run-task` begins a task and
`task-started` confirms it; text goes by `continue-task`, sound comes as binary frames, `finish-task` ends the task and `task-finished`
confirms that all sound was sent. The vendor speaks a sentence once it is complete, and what is left at the end of the task; events tell
where the sound of each sentence begins and ends. The next task begins on the same connection. A task without text for 23 s fails. A task
cannot be stopped: cancelling a text closes its connection. Options: `speaker` (longanyang), `model` (cosyvoice-v3-flash), `speed` 0.5 to
2, `volume`, `language`, `samplerate`; `extra` is merged into the task's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.contract.options import TtsOption
from active_call.providers.accounts.dashscope import NAME, SOURCE, URL, headers_of, task_error
from active_call.providers.credentials import find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spelling import Spelling
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import MAX_VOLUME, speed_in
from active_call.providers.vendor_parameters import base_language

DEFAULT_MODEL: Final = "cosyvoice-v3-flash"
DEFAULT_VOICE: Final = "longanyang"
MODELS_OF_VOICES: Final = {"_v2": "cosyvoice-v2", "_v3": DEFAULT_MODEL}
"""The default model of a voice by the end of its name: a voice belongs to one generation."""
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Alibaba Cloud DashScope (CosyVoice)",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://www.alibabacloud.com/help/en/model-studio/cosyvoice-websocket-api",
    prices="https://www.alibabacloud.com/help/en/model-studio/model-pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    aliases=("dashscope", "cosyvoice"),
    options=(
        DeclaredOption("speaker", "the name of a voice of the model", DEFAULT_VOICE),
        DeclaredOption("model", "cosyvoice-v3-flash is the fastest; cosyvoice-v3-plus, cosyvoice-v2", "by the voice", is_latency_knob=True),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("volume", "1 to 10", "5"),
        DeclaredOption("language", "a hint: zh, en, ja, ko, fr, de, ru"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
        DeclaredOption("extra.*", "any other parameter of the task, such as pitch, seed or instruction"),
    ),
    notes="Outside China, set baseUrl to wss://dashscope-intl.aliyuncs.com, which has its own keys.",
)


def create(option: TtsOption, services: Services) -> CosyVoiceTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, URL)
    return CosyVoiceTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class CosyVoiceTextToSpeech(SocketTextToSpeech):
    """CosyVoice as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    keeps_s = 30.0  # the vendor closes after a minute without a task
    takes_written_text = True
    speaks_sentences = True
    context_idle_s = 15.0  # a task without text for 23 s fails

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        self._uuid = services.world.randomness.uuid
        self._spoken: dict[str, _Spoken] = {}

    def new_id(self) -> str:
        """Task ids are UUIDs."""
        return self._uuid()

    def address(self, spoken: SpokenText) -> VoiceAddress:
        return VoiceAddress(self.endpoint, tuple(headers_of(self._key).items()), (self._key,))

    async def prepare(self, socket: ClientConnection, spoken: SpokenText) -> None:
        """Begin a task; the vendor accepts text once it has begun."""
        await socket.send(self._run_task(spoken))
        while True:
            event = read_object(NAME, await socket.recv())
            match mapping(event.get("header")).get("event"):
                case "task-started":
                    return
                case "task-failed":
                    raise task_error(event, (self._key,))
                case _:
                    pass

    def _run_task(self, spoken: SpokenText) -> str:
        option = self._option
        voice = spoken.speaker or option.speaker or DEFAULT_VOICE
        parameters: dict[str, Any] = {
            "text_type": "PlainText",
            "voice": voice,
            "format": "pcm",
            "sample_rate": self.rate_hz,
            "word_timestamp_enabled": True,
        }
        if (speed := speed_in(option, spoken.speed, 0.5, 2.0)) is not None:
            parameters["rate"] = speed
        if option.volume is not None:
            parameters["volume"] = round(100 * option.volume / MAX_VOLUME)
        if language := base_language(option.language):
            parameters["language_hints"] = [language]
        payload = {
            "task_group": "audio",
            "task": "tts",
            "function": "SpeechSynthesizer",
            "model": option.model or next((model for end, model in MODELS_OF_VOICES.items() if voice.endswith(end)), DEFAULT_MODEL),
            "parameters": {**parameters, **option.extra},
            "input": {},
        }
        return _order("run-task", spoken, payload)

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (*self.say(spoken, spoken.text), *self.finish(spoken))

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        self._spoken.setdefault(spoken.id, _Spoken()).spelling.add(clause)
        return (_order("continue-task", spoken, {"input": {"text": clause}}),)

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (_order("finish-task", spoken, {"input": {}}),)

    def abandon(self, spoken: SpokenText) -> None:
        self._spoken.pop(spoken.id, None)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        task = self._spoken.setdefault(spoken.id, _Spoken())
        if isinstance(message, bytes):
            task.sound_ms += len(message) / BYTES_PER_SAMPLE * 1000 / self.rate_hz
            return SpeechChunk(message)
        event = read_object(NAME, message)
        match mapping(event.get("header")).get("event"):
            case "task-finished":
                self._spoken.pop(spoken.id, None)
                return None
            case "task-failed":
                self._spoken.pop(spoken.id, None)
                raise task_error(event, (self._key,))
            case "result-generated":
                words, ends_clause = task.take(mapping(mapping(event.get("payload")).get("output")))
                return SpeechChunk(b"", words, ends_flush=ends_clause)
            case _:
                return SpeechChunk(b"")


def _order(action: str, spoken: SpokenText, payload: Mapping[str, Any]) -> str:
    return write_object({"header": {"action": action, "task_id": spoken.id, "streaming": "duplex"}, "payload": payload})


@dataclass(slots=True)
class _Spoken:
    """What was spoken of one task."""

    spelling: Spelling = field(default_factory=Spelling)
    sound_ms: float = 0.0
    _sentence: str = ""
    _began_ms: float = 0.0
    _end_ms: float = 0.0

    def take(self, output: Mapping[str, Any]) -> tuple[tuple[WordTime, ...], bool]:
        """The words of a sentence whose sound has ended, and whether that of the oldest clause ends with it."""
        if output.get("type") == "sentence-begin":
            self._sentence, self._began_ms = text(output.get("original_text")), self.sound_ms
        if output.get("type") not in (None, "sentence-end"):
            return (), False
        words = _words(output)
        if words and words[0].start_ms + 1 < self._end_ms:  # its times are those of the sentence, not of the task
            words = tuple(WordTime(word.text, word.start_ms + self._began_ms, word.end_ms + self._began_ms) for word in words)
        if words:
            self._end_ms = words[-1].end_ms
        sentence, self._sentence = self._sentence, ""
        return words, self.spelling.count(sum(1 for char in sentence if not char.isspace()))


def _words(output: Mapping[str, Any]) -> tuple[WordTime, ...]:
    """The words of a sentence, which come when its sound ends."""
    words = []
    for word in mappings(mapping(output.get("sentence")).get("words")):
        begin, end = number(word.get("begin_time")), number(word.get("end_time"))
        if text(word.get("text")).strip() and begin is not None and end is not None:
            words.append(WordTime(text(word.get("text")).strip(), begin, end))
    return tuple(words)
