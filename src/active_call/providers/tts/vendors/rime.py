"""Synthesis by Rime over its JSON WebSocket.

Wire: https://docs.rime.ai/docs/websockets and https://docs.rime.ai/api-reference/websockets-json; about when sound is made
(`segment=never`): https://docs.rime.ai/docs/segmentation. The client sends text and `flush`; the vendor answers with `chunk` and
`timestamps`, then `done`. In streamed text, each clause is flushed, and word times are relative to the flush. `clear` cancels only text
whose synthesis has not started, so cancelling a text closes its connection. Options: `speaker` (astra), `model` (coda), `speed`,
`language`, `samplerate`; `extra` is sent as further parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, words_in
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "rime"
URL: Final = "wss://users-ws.rime.ai/ws3"
SOURCE: Final = KeySource("Rime", ("RIME_API_KEY",), "https://app.rime.ai/tokens", ("rime.ai",))
DEFAULT_MODEL: Final = "coda"
DEFAULT_VOICE: Final = "astra"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
LANGUAGES: Final = {
    "en": "eng", "es": "spa", "fr": "fra", "de": "ger", "pt": "por", "ja": "jpn", "hi": "hin", "ar": "ara", "he": "heb", "ta": "tam",
}  # fmt: skip
"""The vendor uses three-letter language codes."""
SLOWER_IF_GREATER: Final = ("mist", "mistv1", "mistv2")
"""Models whose `speedAlpha` scales the duration; for others it scales the speed (https://docs.rime.ai/docs/speed)."""
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Rime",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.rime.ai/api-reference/websockets-json",
    prices="https://rime.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("speaker", "the name of a voice of the model", DEFAULT_VOICE),
        DeclaredOption("model", "coda, arcana, mistv3, mistv2 (the fastest)", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("language", "one that the voice speaks"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
        DeclaredOption("extra.*", "any other parameter of the API, such as pauseBetweenBrackets"),
    ),
)


def create(option: TtsOption, services: Services) -> RimeTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, URL)
    return RimeTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class RimeTextToSpeech(SocketTextToSpeech):
    """Rime as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    takes_written_text = True
    has_contexts = False
    times_of_clause = True

    def address(self, spoken: SpokenText) -> VoiceAddress:
        option = self._option
        model = option.model or DEFAULT_MODEL
        language = base_language(option.language)
        parameters = {
            "speaker": spoken.speaker or option.speaker or DEFAULT_VOICE,
            "modelId": model,
            "audioFormat": "pcm",
            "samplingRate": self.rate_hz,
            "segment": "never",
            "lang": LANGUAGES.get(language, language) if language else None,
        }
        if (speed := speed_in(option, spoken.speed, 0.5, 2.0)) is not None:
            parameters["speedAlpha"] = round(1 / speed if model in SLOWER_IF_GREATER else speed, 3)
        headers = (("Authorization", f"Bearer {self._key}"),) if self._key else ()
        return VoiceAddress(with_parameters(self.endpoint, parameters, option.extra), headers, (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return self.say(spoken, spoken.text)

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        return (
            write_object({"text": clause.rstrip() + " ", "contextId": spoken.id}),
            write_object({"operation": "flush", "contextId": spoken.id}),
        )

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        event = read_object(NAME, message)
        match event.get("type"):
            case "chunk":
                return SpeechChunk(sound_in(NAME, event.get("data")))
            case "timestamps":
                return SpeechChunk(b"", words_in(mapping(event.get("word_timestamps")), "words", "start", "end"))
            case "done":
                return None
            case "error":
                reason = text(event.get("message")) or text(event.get("error")) or "an error without a reason"
                raise ProviderError(NAME, without_secrets(reason, (self._key,)), retryable=True)
            case _:
                return SpeechChunk(b"")
