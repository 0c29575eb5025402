"""Synthesis by ElevenLabs over its multi-context WebSocket: one context for each text, several texts on one connection.

Wire: https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input. The first message of a context
has a space as text, and the voice's settings; `close_context` ends or cancels the text. Character times come with the sound; word times are
computed from them. Options: `speaker` (a voice id), `model` (eleven_flash_v2_5), `speed` 0.7 to 1.2, `language`, `samplerate`; `extra`
holds `stability`, `similarity_boost`, `style`, and further parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech, parameters_in
from active_call.providers.tts.vendors.spelling import Spelling
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "elevenlabs"
BASE_URL: Final = "wss://api.elevenlabs.io"
SOURCE: Final = KeySource(
    "ElevenLabs", ("ELEVENLABS_API_KEY", "ELEVEN_API_KEY"), "https://elevenlabs.io/app/settings/api-keys", ("elevenlabs.io",)
)
DEFAULT_MODEL: Final = "eleven_flash_v2_5"
DEFAULT_VOICE: Final = "21m00Tcm4TlvDq8ikWAM"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100)
IDLE_S: Final = 60
"""The vendor closes a context after this long without a message; its default is 20."""
_SETTINGS: Final = ("stability", "similarity_boost", "style", "use_speaker_boost")
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="ElevenLabs",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input",
    prices="https://elevenlabs.io/pricing/api",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("speaker", "the id of a voice", DEFAULT_VOICE),
        DeclaredOption("model", "eleven_flash_v2_5 is the fastest", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("speed", "0.7 to 1.2", "1.0"),
        DeclaredOption("samplerate", "8000 to 44100", "16000"),
        DeclaredOption("extra.stability", "0.0 to 1.0; the same holds for similarity_boost and style"),
        DeclaredOption("extra.*", "any other parameter of the API, such as apply_text_normalization"),
    ),
)


def create(option: TtsOption, services: Services) -> ElevenLabsTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL)
    return ElevenLabsTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class ElevenLabsTextToSpeech(SocketTextToSpeech):
    """ElevenLabs as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    takes_written_text = True
    context_idle_s = IDLE_S - 10.0

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        self._spelt: dict[str, Spelling] = {}
        """For each text being spoken: the part that has sounded."""

    def address(self, spoken: SpokenText) -> VoiceAddress:
        option = self._option
        voice = spoken.speaker or option.speaker or DEFAULT_VOICE
        parameters = {
            "model_id": option.model or DEFAULT_MODEL,
            "output_format": f"pcm_{self.rate_hz}",
            "inactivity_timeout": IDLE_S,
            "auto_mode": True,
            "sync_alignment": True,
            "language_code": base_language(option.language),
        }
        url = with_parameters(
            f"{self.endpoint}/v1/text-to-speech/{voice}/multi-stream-input", parameters, parameters_in(option.extra, *_SETTINGS)
        )
        return VoiceAddress(url, (("xi-api-key", self._key),) if self._key else (), (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (*self.begin(spoken), *self.say(spoken, spoken.text), *self.finish(spoken))

    def begin(self, spoken: SpokenText) -> Sequence[Message]:
        settings: dict[str, Any] = {name: self._option.extra[name] for name in _SETTINGS if name in self._option.extra}
        if (speed := speed_in(self._option, spoken.speed, 0.7, 1.2)) is not None:
            settings["speed"] = speed
        self._spelt[spoken.id] = Spelling()
        return (write_object({"text": " ", "context_id": spoken.id, **({"voice_settings": settings} if settings else {})}),)

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        self._spelt.setdefault(spoken.id, Spelling()).add(clause)
        return (write_object({"text": clause.rstrip() + " ", "context_id": spoken.id, "flush": True}),)

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (write_object({"context_id": spoken.id, "close_context": True}),)

    def abandon(self, spoken: SpokenText) -> Sequence[Message]:
        """The context is closed already, or will be: its remaining messages are ignored by its id."""
        self._spelt.pop(spoken.id, None)
        return (write_object({"context_id": spoken.id, "close_context": True}),)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        event = read_object(NAME, message)
        if reason := text(event.get("error")) or (text(event.get("message")) if not event.get("audio") else ""):
            raise ProviderError(NAME, without_secrets(reason, (self._key,)), retryable="quota" not in reason)
        if (text(event.get("contextId")) or text(event.get("context_id"))) != spoken.id:
            return SpeechChunk(b"")
        if event.get("isFinal") is True or event.get("is_final") is True:
            self._spelt.pop(spoken.id, None)
            return None
        pcm = sound_in(NAME, event.get("audio")) if event.get("audio") else b""
        spelling = self._spelt.setdefault(spoken.id, Spelling())
        words, ends_clause = spelling.take(mapping(event.get("alignment")), len(pcm) / BYTES_PER_SAMPLE * 1000 / self.rate_hz)
        return SpeechChunk(pcm, words, ends_flush=ends_clause)
